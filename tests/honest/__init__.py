"""Mixers that are odd and honest: no check may refuse them. Their docstrings say why."""
