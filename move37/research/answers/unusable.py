"""What a model is told where its answer cannot be used."""

FORM = "answer with `Name:`, `Motivation:` and one ```python block that holds the complete program"


class Unusable(ValueError):
    """The answer holds no program that could be examined; the text is what the model is told."""
