"""Exchanges with language models, kept as JSON lines and replayed exactly.

A request is its text: model, role, limit, system and prompt. The same request, asked again, has
the next of its recorded answers. Answers, and refusals of what is too long, are on the cassette;
failures of the network and of the budget are not. Keys are never on it.
"""

import hashlib
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from move37.records import InputError, from_json, to_json
from move37.research.models import LanguageModels, ModelSpec, Reply, TooLong


@dataclass(frozen=True)
class Refusal:
    """The request was too long for the model."""

    told: str
    limit_tokens: int | None


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
    answer: Reply | Refusal


class Recorder:
    """Asks another, and appends each exchange to a cassette."""

    def __init__(self, models: LanguageModels, path: Path, scrub: Callable[[str], str]) -> None:
        """Goes on behind what the cassette holds; a line that was cut by a kill is taken away."""
        self._models = models
        self._scrub = scrub
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
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
        """Returns the other's answer, which is on the cassette by then."""
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
        except TooLong as error:
            self._append(asked, Refusal(self._scrub(str(error)), error.limit_tokens))
            raise
        self._append(asked, replace(reply, text=self._scrub(reply.text)))
        return reply

    def _append(self, asked: Asked, answer: Reply | Refusal) -> None:
        # The hash is that of the request as it was; what is readable goes through the scrubber.
        system, prompt = self._scrub(asked.system), self._scrub(asked.prompt)
        exchange = Exchange(asked.hash, replace(asked, system=system, prompt=prompt), answer)
        with self._lock:
            self._file.write(to_json(exchange).encode() + b"\n")
            self._file.flush()


class Player:
    """Answers from a cassette, and asks nobody."""

    def __init__(self, path: Path) -> None:
        """Reads the cassette; raises InputError if it is none."""
        self._path = path
        self._lock = threading.Lock()
        self._played: Counter[str] = Counter()
        self._answers: dict[str, list[Reply | Refusal]] = {}
        self._requests: dict[str, Asked] = {}
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: expected a cassette of exchanges: {error}") from None
        for number, line in enumerate(text[: text.rfind("\n") + 1].split("\n")[:-1], start=1):
            try:
                exchange = from_json(Exchange, line)
            except ValueError as error:
                told = "expected an exchange, as a recorder writes it"
                raise InputError(f"{path}, line {number}: {told}: {error}") from None
            self._answers.setdefault(exchange.request, []).append(exchange.answer)
            self._requests.setdefault(exchange.request, exchange.asked)

    def ask(
        self,
        spec: ModelSpec,
        system: str,
        prompt: str,
        *,
        role: str,
        max_output_tokens: int,
        experiment: int | None = None,  # noqa: ARG002  the same signature for all
    ) -> Reply:
        """Returns what was answered then; raises InputError if this was not asked (so often)."""
        asked = Asked(spec.name, role, max_output_tokens, system, prompt)
        with self._lock:
            number = self._played[asked.hash]
            self._played[asked.hash] += 1
        answers = self._answers.get(asked.hash, [])
        if number >= len(answers):
            raise InputError(self._missing(asked, len(answers)))
        answer = answers[number]
        if isinstance(answer, Refusal):
            raise TooLong(answer.told, answer.limit_tokens)
        return answer

    def _missing(self, asked: Asked, recorded: int) -> str:
        advice = "replay with the same program and settings, or record again"
        if recorded:
            told = f"a request of {asked.role!r} is asked for the {recorded + 1}. time"
            return f"{self._path}: {told}, and was recorded {recorded} times: {advice}"
        told = f"{self._path}: a request of {asked.role!r} to {asked.model} is not on the cassette"
        if not self._requests:
            return f"{told}, which is empty: {advice}"
        mine = Counter(asked.lines)
        # The nearest one has the most lines in common.
        near = max(self._requests.values(), key=lambda one: (mine & Counter(one.lines)).total())
        pairs = zip([*asked.lines, "(end)"], [*near.lines, "(end)"], strict=False)
        new, old = next(((a, b) for a, b in pairs if a != b), ("(white space)", "(other)"))
        return f"{told}. The nearest one has {old[:200]!r} where {new[:200]!r} is asked: {advice}"
