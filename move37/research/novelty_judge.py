"""Has this idea been tried already, in another program? The nearest five are put to a model."""

import threading
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from move37.history import History
from move37.knowledge.retrieval import Embedder
from move37.records import Brief, Candidate, Proposal, Record, Rejected
from move37.research.answers import Unusable
from move37.research.roles import Asker, read_flag, read_prose
from move37.results import Result

ROLE = "novelty_judge"
NEAREST = 5
AT_ONCE = 1_000  # texts


class Tried(NamedTuple):
    """What was tried before, and in which experiment first."""

    experiment: int
    proposal: Proposal


class Ideas:
    """The motivations of all programs, with their meaning as vectors, each embedded once."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._firsts: _Firsts | None = None  # of the history that was embedded so far
        self._vectors = np.empty((0, 0), np.float32)
        self._count = 0
        self._lock = threading.Lock()

    def nearest(
        self,
        proposal: Proposal,
        tried: Sequence[tuple[int, Proposal]],
        count: int,
        history: Sequence[Record] = (),
    ) -> list[Tried]:
        """Returns the programs whose motivations are nearest in meaning, best first.

        Among the history and what was `tried` beside it.
        """
        history = History.of(history)
        firsts = history.gathered(_Firsts)
        older = bisect_left(firsts.places, history.border)
        beside: dict[str, Tried] = {}
        for experiment, other in tried:
            identity = Candidate.of(other).id
            if not firsts.has(identity, history.border):
                beside.setdefault(identity, Tried(experiment, other))
        if not older and not beside:
            return []
        texts = [_meaning(proposal), *(_meaning(one.proposal) for one in beside.values())]
        vectors = self._embedder.embed(texts)
        nearness = vectors[1:] @ vectors[0]
        if older:
            nearness = np.concatenate([self._of(firsts, older) @ vectors[0], nearness])
        # Rounded, with ties by id: the last bits of a sum differ between machines.
        rounded = np.rint(np.nan_to_num(nearness, nan=-1.0).astype(np.float64) * 1e5)
        places = np.arange(len(rounded))
        if len(rounded) > count:
            least = np.partition(rounded, len(rounded) - count)[len(rounded) - count]
            places = np.flatnonzero(rounded >= least)
        newer = list(beside.items())

        def told(place: int) -> tuple[str, Tried]:
            return firsts.told[place] if place < older else newer[place - older]

        keyed = [(-rounded[place], *told(int(place))) for place in places]
        return [one for _, _, one in sorted(keyed, key=lambda key: key[:2])[:count]]

    def _of(self, firsts: "_Firsts", count: int) -> np.ndarray:
        """Returns the vectors of the first programs of a history."""
        with self._lock:
            if firsts is not self._firsts:
                self._firsts, self._count = firsts, 0
            while self._count < count:
                due = firsts.told[self._count : min(count, self._count + AT_ONCE)]
                made = self._embedder.embed([_meaning(one.proposal) for _, one in due])
                if self._count + len(made) > len(self._vectors):  # twice as large, not each time
                    grown = np.empty((2 * (self._count + len(made)), made.shape[1]), made.dtype)
                    grown[: self._count] = self._vectors[: self._count] if self._count else 0
                    self._vectors = grown
                self._vectors[self._count : self._count + len(made)] = made
                self._count += len(made)
            return self._vectors[:count]


class _Firsts:
    """The first of each program in a history."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Tried]] = []  # with its id
        self.seen: dict[str, int] = {}
        self.places: list[int] = []  # experiments

    def take(self, experiment: Sequence[Record], found: Sequence[Result]) -> None:  # noqa: ARG002
        """Takes in the next experiment."""
        for record in experiment:
            identity = record.candidate.id
            if identity not in self.seen:
                self.seen[identity] = record.experiment
                self.told.append((identity, Tried(record.experiment, record.candidate.proposal)))
                self.places.append(record.experiment)

    def has(self, identity: str, border: int) -> bool:
        """Says whether a program was tried before an experiment."""
        return self.seen.get(identity, border) < border


def known_idea(
    asker: Asker,
    brief: Brief,
    proposal: Proposal,
    tried: Sequence[tuple[int, Proposal]],
    ideas: Ideas,
    history: Sequence[Record] = (),
) -> Rejected | None:
    """Refuses an idea that a model finds among the nearest; what cannot be read is new.

    The attempts of this experiment are not compared with: a repair keeps its idea.
    """
    older = [(number, other) for number, other in tried if number != brief.experiment]
    near = ideas.nearest(proposal, older, NEAREST, history)
    if not near:
        return None
    values = {
        "name": proposal.name,
        "motivation": proposal.motivation,
        "program": proposal.source,
        "nearest": [
            {"name": one.proposal.name, "motivation": one.proposal.motivation} for one in near
        ],
    }

    def read(answer: Mapping[str, Any]) -> Rejected | None:
        if not read_flag("same", answer["same"]):
            return None
        called = str(answer.get("as", "")).strip()
        same = next((one for one in near if one.proposal.name == called), near[0])
        try:
            why = read_prose("why", answer.get("why", ""), most=1_000)
        except Unusable:
            why = "no reason was given"
        told = f"the same idea as {same.proposal.name} of experiment {same.experiment}"
        return Rejected("novelty", f"{told}: {why}")

    spec = asker.choose(ROLE, brief.dice)
    return asker.ask(spec, ROLE, values, ("same",), read, experiment=brief.experiment)


def _meaning(proposal: Proposal) -> str:
    return proposal.motivation.strip() or proposal.name.strip() or "mixer"
