"""Asks a role for a typed answer: once more with the reason if it cannot be used, then not again.

Nothing that a model says, or fails to say, is raised from here: where no answer can be had (a spent
budget too) the caller has None, goes on with what it has computed, and the reason is kept.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from move37.records import Fallback, Judgement, RunFailed
from move37.research import shortening
from move37.research.answers import Unusable, read_object
from move37.research.cassette import Player, Recorder, silent
from move37.research.chooser import Payoff, choose
from move37.research.ledger import BudgetSpent
from move37.research.models import LanguageModels, ModelSpec, ProviderFailed, Reply

MAX_OUTPUT_TOKENS = 8_000  # hidden reasoning is among them
MOST_FAILURES = 3  # of a model in a row; each may have taken all its retries and minutes

T = TypeVar("T")


class Notes(Protocol):
    """Where judgements and fallbacks are kept: see move37.store."""

    def append_judgement(self, judgement: Judgement) -> None: ...
    def append_fallback(self, fallback: Fallback) -> None: ...
    def judgements(self) -> list[Judgement]: ...
    def fallbacks(self) -> list[Fallback]: ...


class Forgotten:
    """Keeps no notes."""

    def append_judgement(self, judgement: Judgement) -> None:
        """Keeps nothing."""

    def append_fallback(self, fallback: Fallback) -> None:
        """Keeps nothing."""

    def judgements(self) -> list[Judgement]:
        """Returns nothing."""
        return []

    def fallbacks(self) -> list[Fallback]:
        """Returns nothing."""
        return []


class Asker:
    """Asks the models that play a role."""

    def __init__(
        self,
        models: LanguageModels,
        specs: Sequence[ModelSpec],
        payoffs: Callable[[], Sequence[Payoff]],
        notes: Notes,
    ) -> None:
        self._models, self._specs, self._payoffs = models, specs, payoffs
        self.notes = notes
        self._failures: dict[str, list[str]] = {}  # in a row, by model

    def plays(self, role: str) -> bool:
        """Says whether a model plays the role."""
        return any(spec.plays(role) for spec in self._specs)

    def choose(self, role: str, dice: str) -> ModelSpec:
        """Returns the model that is asked, in a replay the one that was; raises InputError."""

        def draw() -> ModelSpec:
            return choose(self._specs, self._payoffs, role=role, dice=dice)

        if isinstance(self._models, Player):
            return self._models.choose(role, dice, draw, self._specs)
        if isinstance(self._models, Recorder):
            return self._models.choose(role, dice, draw)
        return draw()

    def ask(
        self,
        spec: ModelSpec,
        role: str,
        values: Mapping[str, Any],
        keys: Sequence[str],
        read: Callable[[Mapping[str, Any]], T],
        *,
        experiment: int,
    ) -> T | None:
        """Returns what `read` makes of the answer's object; None if there is none, which is kept.

        `read` raises Unusable, in words that the model can act on. A model that does not answer
        for some times in a row is not asked any more.
        """
        told = reason = ""
        failures = self._failures.setdefault(spec.name, [])
        models = self._models
        row = list(failures)  # other threads go on with it
        if len(row) >= MOST_FAILURES:
            reason = f"not asked any more: {len(row)} requests in a row failed: {row[-1]}"
            models = silent(models, reason)
        try:
            for _ in range(2):
                reply = shortening.ask(
                    models,
                    spec,
                    role,
                    values,
                    told,
                    max_output_tokens=MAX_OUTPUT_TOKENS,
                    experiment=experiment,
                )
                failures.clear()
                try:
                    return read(read_object(reply.text, keys, finished=reply.finished))
                except Unusable as error:
                    reason = str(error)
                    told = again(reply, reason)
        except BudgetSpent:  # nobody was asked; the next proposal meets it, and stops the run
            return None
        except RunFailed as error:  # the next proposal meets the same, and stops the run
            reason = str(error)
            if isinstance(error, ProviderFailed):
                failures.append(reason)
        self.notes.append_fallback(Fallback(role, spec.name, experiment, reason))
        return None


def again(reply: Reply, reason: str) -> str:
    """Returns what is added to the request for the second and last answer."""
    answer = reply.text if len(reply.text) < 20_000 else f"{reply.text[:20_000]}\n(and more)"
    return (
        f"\n\n# Your answer could not be used\n\n{reason}\n\nIt was:\n\n{answer}\n\n"
        "Answer once more, in the form that is asked for."
    )


# ---------------------------------------------------------------- typed values


def read_flag(key: str, value: object) -> bool:
    """Returns true or false; raises Unusable for what is neither."""
    word = str(value).strip().lower().rstrip(".")
    if word in ("true", "yes", "1"):
        return True
    if word in ("false", "no", "0"):
        return False
    raise Unusable(f"Expected true or false in {key!r}, got {_cut(value)}.")


def read_grade(key: str, value: object) -> float:
    """Returns a number from 0 to 10; raises Unusable for anything else."""
    found = re.fullmatch(r"\+?(\d+(?:\.\d+)?)(?: ?/ ?10(?:\.0*)?)?", str(value).strip(), re.ASCII)
    if found is None or float(found[1]) > 10:
        raise Unusable(f"Expected a number from 0 to 10 in {key!r}, got {_cut(value)}.")
    return float(found[1])


def read_prose(key: str, value: object, *, most: int) -> str:
    """Returns a text of one line, at most so many characters; raises Unusable for anything else."""
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        value = " ".join(value)
    text = " ".join(value.split()) if isinstance(value, str) else ""
    if not any(character.isalnum() for character in text):
        raise Unusable(f"Expected a text in {key!r}, got {_cut(value)}.")
    if len(text) > most:
        told = f"Expected at most {most} characters in {key!r}, got {len(text):,}"
        raise Unusable(f"{told}: say it shorter.")
    return text


def _cut(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
