"""Exchanges with language models, kept as JSON lines and replayed exactly.

A request is its experiment and its text: model, role, limit, system and prompt. The same request,
asked again in one experiment, has the next of its recorded answers, so it does not matter in which
order the workers ask. Failures are on the cassette as answers are, and so is which model was
chosen. A run that was killed asks about an unfinished experiment again when it goes on: of what
several sessions were answered, the last counts. Keys are never on a cassette.

Not covered: a cassette of an older version has no experiments, and is right for one worker only.
"""

import copy
import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from move37.records import InputError, RunFailed, from_json, to_json
from move37.research.ledger import BudgetSpent
from move37.research.models import LanguageModels, ModelSpec, ProviderFailed, Reply, TooLong


@dataclass(frozen=True)
class Refusal:
    """The request was too long for the model."""

    told: str
    limit_tokens: int | None


@dataclass(frozen=True)
class Failure:
    """No answer came, for this reason."""

    kind: Literal["ProviderFailed", "BudgetSpent", "RunFailed"]
    told: str

    @property
    def error(self) -> RunFailed:
        """Returns what was raised."""
        if self.kind == "ProviderFailed":
            return ProviderFailed(self.told)
        return BudgetSpent(self.told) if self.kind == "BudgetSpent" else RunFailed(self.told)


@dataclass(frozen=True)
class Asked:
    """A request."""

    model: str
    role: str
    max_output_tokens: int
    system: str
    prompt: str

    @property
    def hash(self) -> str:
        """Returns the same text for the same request."""
        return hashlib.sha256(to_json(self).encode("utf-8", "replace")).hexdigest()[:16]

    @property
    def lines(self) -> list[str]:
        """Returns the request as a person reads it."""
        head = [f"model: {self.model}", f"role: {self.role}"]
        head.append(f"max_output_tokens: {self.max_output_tokens}")
        system = [f"system: {line}" for line in self.system.splitlines()]
        return [*head, *system, *(f"prompt: {line}" for line in self.prompt.splitlines())]


@dataclass(frozen=True)
class Exchange:
    """One request, and what came of it: one line of a cassette."""

    request: str  # hash
    asked: Asked
    answer: Reply | Refusal | Failure
    experiment: int | None = None
    session: int = 0  # from 1; 0: of an older version


@dataclass(frozen=True)
class Choice:
    """Which model was chosen for an attempt, as `chooser` names it: one line of a cassette."""

    role: str
    dice: str
    model: str
    session: int


class Recorder:
    """Asks another, and appends each exchange to a cassette."""

    def __init__(
        self,
        models: LanguageModels,
        path: Path,
        scrub: Callable[[str], str],
        started: int | None = None,
    ) -> None:
        """Goes on behind what the cassette holds; a line that was cut by a kill is taken away.

        Raises InputError for a file that is no cassette, or that of another run: with exchanges
        about experiments that a run which has `started` so many cannot have asked about.
        """
        self._models = models
        self._scrub = scrub
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        earlier = _read(path) if path.exists() else []
        asked = {line.experiment for line in earlier if isinstance(line, Exchange)} - {None}
        if started is not None and any(number >= started for number in asked if number is not None):
            raise InputError(
                f"{path} is the cassette of another run, which went further than this one's store: "
                "expected a new file for --record"
            )
        self._session = 1 + max((line.session for line in earlier), default=0)
        self._file = path.open("ab+")
        self._file.seek(0)
        whole = self._file.read().rfind(b"\n") + 1
        self._file.truncate(whole)

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def ask(
        self,
        spec: ModelSpec,
        system: str,
        prompt: str,
        *,
        role: str,
        max_output_tokens: int,
        experiment: int | None = None,
    ) -> Reply:
        """Returns the other's answer, or raises its failure, which is on the cassette by then."""
        asked = Asked(spec.name, role, max_output_tokens, system, prompt)
        try:
            reply = self._models.ask(
                spec,
                system,
                prompt,
                role=role,
                max_output_tokens=max_output_tokens,
                experiment=experiment,
            )
        except RunFailed as error:
            self._keep(self._exchange(asked, self._failure(error), experiment))
            raise
        answer = replace(reply, text=self._scrub(reply.text))
        self._keep(self._exchange(asked, answer, experiment))
        return reply

    def choose(self, role: str, dice: str, draw: Callable[[], ModelSpec]) -> ModelSpec:
        """Returns the model that is drawn, which is on the cassette by then."""
        spec = draw()
        self._keep(Choice(role, dice, spec.name, self._session))
        return spec

    def of(self, models: LanguageModels) -> "Recorder":
        """Returns a recorder that asks these, and writes to the same cassette."""
        other = copy.copy(self)
        other._models = models
        return other

    def _failure(self, error: RunFailed) -> Refusal | Failure:
        told = self._scrub(str(error))
        if isinstance(error, TooLong):
            return Refusal(told, error.limit_tokens)
        if isinstance(error, ProviderFailed):
            return Failure("ProviderFailed", told)
        return Failure("BudgetSpent" if isinstance(error, BudgetSpent) else "RunFailed", told)

    def _exchange(
        self, asked: Asked, answer: Reply | Refusal | Failure, experiment: int | None
    ) -> Exchange:
        # The hash is that of the request as it was; what is readable goes through the scrubber.
        system, prompt = self._scrub(asked.system), self._scrub(asked.prompt)
        readable = replace(asked, system=system, prompt=prompt)
        return Exchange(asked.hash, readable, answer, experiment, self._session)

    def _keep(self, line: Exchange | Choice) -> None:
        with self._lock:
            self._file.write(to_json(line).encode() + b"\n")
            self._file.flush()


class Player:
    """Answers from a cassette, and asks nobody."""

    def __init__(self, path: Path) -> None:
        """Reads the cassette; raises InputError if it is none."""
        self._path = path
        self._lock = threading.Lock()
        self._played: Counter[tuple[int | None, str]] = Counter()
        self._kept: dict[tuple[int | None, str], list[Exchange]] = {}
        self._choices: dict[tuple[str, str], str] = {}
        for line in _read(path):
            if isinstance(line, Choice):
                self._choices[line.role, line.dice] = line.model
                continue
            kept = self._kept.setdefault((line.experiment, line.request), [])
            if kept and kept[-1].session < line.session:
                kept.clear()  # the run went on, and asked about this experiment again
            kept.append(line)

    def ask(
        self,
        spec: ModelSpec,
        system: str,
        prompt: str,
        *,
        role: str,
        max_output_tokens: int,
        experiment: int | None = None,
    ) -> Reply:
        """Returns what was answered then, or raises what was raised.

        Raises InputError if this was not asked (so often).
        """
        asked = Asked(spec.name, role, max_output_tokens, system, prompt)
        place = experiment, asked.hash
        if place not in self._kept:
            place = None, asked.hash  # as an older version recorded it
        with self._lock:
            number = self._played[place]
            self._played[place] += 1
        kept = self._kept.get(place, [])
        if number >= len(kept):
            raise InputError(self._missing(asked, experiment, len(kept)))
        answer = kept[number].answer
        if isinstance(answer, Refusal):
            raise TooLong(answer.told, answer.limit_tokens)
        if isinstance(answer, Failure):
            raise answer.error
        return answer

    def choose(
        self, role: str, dice: str, draw: Callable[[], ModelSpec], specs: Sequence[ModelSpec]
    ) -> ModelSpec:
        """Returns the model that was chosen then; draws where none was recorded.

        Raises InputError if it is not among those that play the role.
        """
        name = self._choices.get((role, dice))
        if name is None:
            return draw()
        return self._named(name, role, specs)

    def check(self, specs: Sequence[ModelSpec]) -> None:
        """Raises InputError unless the models that were chosen play the same roles now."""
        for role, name in sorted({(role, name) for (role, _), name in self._choices.items()}):
            self._named(name, role, specs)

    def _named(self, name: str, role: str, specs: Sequence[ModelSpec]) -> ModelSpec:
        for spec in specs:
            if spec.name == name and spec.plays(role):
                return spec
        told = f"{self._path}: expected {name} among the models that play {role!r}, as recorded"
        raise InputError(f"{told}: name it with --model, and with the roles that it had")

    def _missing(self, asked: Asked, experiment: int | None, recorded: int) -> str:
        if not self._kept:
            told = "expected a cassette with exchanges, got an empty one"
            return f"{self._path}: {told}: record a run with --record"
        advice = "replay with the version, models and settings of the recording, or record again"
        got = f"got one of {asked.role!r} to {asked.model}"
        if experiment is not None:
            got += f" about experiment {experiment}"
        if recorded:
            told = f"expected this request {recorded} time{'s' * (recorded > 1)}, as recorded"
            return f"{self._path}: {told}, {got} once more: {advice}"
        known = [number for number, _ in self._kept if number is not None]
        if known and experiment is not None and experiment > max(known):
            told = f"expected requests about experiments up to {max(known)}, as recorded"
            return (
                f"{self._path}: {told}, {got}: replay with fewer --experiments, or give --record "
                "in place of --replay, which asks the models and goes on"
            )
        told = f"{self._path}: expected a request that was recorded, {got}"
        mine = Counter(asked.lines)

        def likeness(one: Exchange) -> tuple[int, bool]:
            return (mine & Counter(one.asked.lines)).total(), one.experiment == experiment

        # The nearest one has the most lines in common.
        near = max((kept[0] for kept in self._kept.values()), key=likeness)
        pairs = zip([*asked.lines, "(end)"], [*near.asked.lines, "(end)"], strict=False)
        other = (f"experiment {experiment}", f"experiment {near.experiment}")
        if near.experiment == experiment:
            other = ("(white space)", "(other)")
        new, old = next(((a, b) for a, b in pairs if a != b), other)
        return (
            f"{told}. The nearest one that was has {old[:200]!r} where {new[:200]!r} is asked: "
            f"{advice}"
        )


class _Silent:
    """Models that do not answer."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def ask(
        self,
        spec: ModelSpec,  # noqa: ARG002  the same signature for all
        system: str,  # noqa: ARG002
        prompt: str,  # noqa: ARG002
        *,
        role: str,  # noqa: ARG002
        max_output_tokens: int,  # noqa: ARG002
        experiment: int | None = None,  # noqa: ARG002
    ) -> Reply:
        raise RunFailed(self._reason)


def silent(models: LanguageModels, reason: str) -> LanguageModels:
    """Returns models that fail for this reason; that is recorded, and played where it was."""
    if isinstance(models, Player):
        return models
    mute = _Silent(reason)
    return models.of(mute) if isinstance(models, Recorder) else mute


def _read(path: Path) -> list[Exchange | Choice]:
    """Returns the lines of a cassette, without one that was cut; raises InputError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected a cassette of exchanges: {error}") from None
    found: list[Exchange | Choice] = []
    for number, line in enumerate(text[: text.rfind("\n") + 1].split("\n")[:-1], start=1):
        try:
            choice = line.startswith('{"type":"Choice"')
            found.append(from_json(Choice, line) if choice else from_json(Exchange, line))
        except ValueError as error:
            told = "expected an exchange, as a recorder writes it"
            raise InputError(f"{path}, line {number}: {told}: {error}") from None
    return found
