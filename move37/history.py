"""What a run has done so far: records and lessons in order, with what is gathered from them.

An overnight run asks the same questions after each experiment: which mixers are the fittest, was
this program tried, how large is the noise. Answered from all records, each experiment would cost
more than the one before. So whatever is asked is gathered once, experiment by experiment, and kept
beside the records; and since a brief may know only the experiments that are old enough, every
answer can be had as of an earlier experiment.
"""

import threading
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Protocol, TypeVar, cast, overload

from move37.records import Judgement, Lesson, Record
from move37.results import Result, results


class Gathered(Protocol):
    """Something that is gathered from experiments; what it answers holds up to a border."""

    def take(self, experiment: Sequence[Record], found: Sequence[Result]) -> None:
        """Takes in the next experiment; `found` are the candidates that it measured first."""
        ...


G = TypeVar("G", bound=Gathered)


class _Log:
    """What all views of a history share. It only grows."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.lessons: list[Lesson] = []
        self.experiments: list[int] = []  # their numbers, ascending
        self.ends: list[int] = []  # how many records there are after each of them
        self.found: list[list[Result]] = []  # what each of them measured first
        self.results: dict[str, Result] = {}
        self.baselines: list[Record] = []
        self.of_candidate: dict[str, list[Record]] = defaultdict(list)
        self.children: dict[str, dict[str, int]] = defaultdict(dict)  # id -> first experiment
        self.lessons_of: dict[str, list[Lesson]] = defaultdict(list)
        self.judgements: dict[str, Judgement] = {}  # by candidate
        self.gathered: dict[type[Gathered], tuple[Gathered, int]] = {}
        self.lock = threading.RLock()


class History(Sequence[Record]):
    """All records up to a border, in order. Safe to read while another thread adds."""

    def __init__(
        self,
        records: Sequence[Record] = (),
        lessons: Sequence[Lesson] = (),
        judgements: Sequence[Judgement] = (),
        *,
        judge_share: float = 0.0,
    ) -> None:
        """`records` and `lessons` are put in order of their experiments.

        `judge_share` is how much of the judgement in a fitness comes from the language model that
        judges, 0 to 1; the rest is counted cost.
        """
        self.judge_share = judge_share
        self._log = _Log()
        self._border: int | None = None
        ordered = sorted(records, key=lambda record: record.experiment)
        for _, experiment in groupby(ordered, key=lambda record: record.experiment):
            self.add(list(experiment))
        self._add_lessons(sorted(lessons, key=lambda lesson: lesson.experiment))
        self._log.judgements.update((one.candidate, one) for one in judgements)

    @classmethod
    def of(cls, records: Sequence[Record]) -> "History":
        """Returns the records as a history, which they may be already."""
        return records if isinstance(records, History) else cls(records)

    def add(
        self,
        experiment: Sequence[Record],
        lesson: Lesson | None = None,
        judgement: Judgement | None = None,
    ) -> None:
        """Takes in the records of the next experiment; the whole history grows, no view does."""
        log, number = self._log, experiment[0].experiment
        with log.lock:
            found = [one for one in results(experiment) if one.candidate.id not in log.results]
            log.results.update((one.candidate.id, one) for one in found)
            log.records += experiment
            for record in experiment:
                log.of_candidate[record.candidate.id].append(record)
                if record.candidate.proposal.is_baseline:
                    log.baselines.append(record)
                if record.parents:
                    log.children[record.parents[0]].setdefault(record.candidate.id, number)
            log.found.append(found)
            log.ends.append(len(log.records))
            if judgement is not None:
                self.add_judgement(judgement)
            if lesson is not None:
                self._add_lessons([lesson])
            log.experiments.append(number)  # last: by then all else is there

    def add_judgement(self, judgement: Judgement) -> None:
        """Takes in what a language model thinks of a candidate."""
        self._log.judgements[judgement.candidate] = judgement

    def _add_lessons(self, lessons: Sequence[Lesson]) -> None:
        self._log.lessons += lessons
        for lesson in lessons:
            self._log.lessons_of[lesson.candidate].append(lesson)

    def until(self, border: int) -> "History":
        """Returns what was there before the experiment of this number."""
        view = History.__new__(History)
        view._log, view.judge_share = self._log, self.judge_share
        view._border = border if self._border is None else min(border, self._border)
        return view

    # ---------------------------------------------------------------- records and lessons

    @property
    def border(self) -> int:
        """The number that all experiments in it are below."""
        if self._border is not None:
            return self._border
        return self._log.experiments[-1] + 1 if self._log.experiments else 0

    @property
    def experiments(self) -> int:
        """How many experiments it holds."""
        return bisect_left(self._log.experiments, self.border)

    def __len__(self) -> int:
        return self._log.ends[self.experiments - 1] if self.experiments else 0

    @overload
    def __getitem__(self, place: int) -> Record: ...
    @overload
    def __getitem__(self, place: slice) -> list[Record]: ...
    def __getitem__(self, place: int | slice) -> Record | list[Record]:
        if isinstance(place, slice):
            return [self._log.records[i] for i in range(*place.indices(len(self)))]
        return self._log.records[range(len(self))[place]]

    def __iter__(self) -> Iterator[Record]:
        for i in range(len(self)):
            yield self._log.records[i]

    def experiment(self, number: int) -> list[Record]:
        """Returns the records of one experiment; none if it is not in it."""
        place = bisect_left(self._log.experiments, number)
        if place >= self.experiments or self._log.experiments[place] != number:
            return []
        start = self._log.ends[place - 1] if place else 0
        return self._log.records[start : self._log.ends[place]]

    @property
    def baselines(self) -> list[Record]:
        """Returns the records of the baselines."""
        return [one for one in self._log.baselines if one.experiment < self.border]

    def of_candidate(self, identity: str) -> list[Record]:
        """Returns all records of a candidate."""
        found = self._log.of_candidate.get(identity, [])
        return [record for record in found if record.experiment < self.border]

    def children(self, identity: str) -> list[str]:
        """Returns the candidates that descend from one, the oldest first."""
        found = self._log.children.get(identity, {})
        return [child for child, experiment in list(found.items()) if experiment < self.border]

    def judgement(self, identity: str) -> Judgement | None:
        """Returns what a language model thinks of a candidate."""
        return self._log.judgements.get(identity)

    @property
    def lessons(self) -> Sequence[Lesson]:
        """All lessons, in order of experiments."""
        return self._log.lessons[: self._lessons_count]

    @property
    def _lessons_count(self) -> int:
        return bisect_left(self._log.lessons, self.border, key=lambda one: one.experiment)

    def lessons_of(self, candidates: Sequence[str]) -> list[Lesson]:
        """Returns the lessons of these candidates, in order of experiments."""
        found = [one for each in dict.fromkeys(candidates) for one in self._lessons_of(each)]
        return sorted(found, key=lambda one: one.experiment)

    def _lessons_of(self, candidate: str) -> list[Lesson]:
        found = self._log.lessons_of.get(candidate, [])
        return [one for one in found if one.experiment < self.border]

    def newest_lessons(self, count: int, *, but_of: Sequence[str]) -> list[Lesson]:
        """Returns the newest lessons, the newest first, without those of some candidates."""
        found: list[Lesson] = []
        for place in range(self._lessons_count - 1, -1, -1):
            if len(found) == count:
                break
            if self._log.lessons[place].candidate not in but_of:
                found.append(self._log.lessons[place])
        return found

    # ---------------------------------------------------------------- what is gathered

    def result(self, identity: str) -> Result | None:
        """Returns what was measured of a candidate."""
        found = self._log.results.get(identity)
        return found if found is not None and found.experiment < self.border else None

    def gathered(self, kind: type[G]) -> G:
        """Returns what is gathered so far: ask it for what holds up to `border`."""
        log = self._log
        with log.lock:
            made, taken = log.gathered.get(kind) or (kind(), 0)
            for place in range(taken, len(log.experiments)):
                start = log.ends[place - 1] if place else 0
                made.take(log.records[start : log.ends[place]], log.found[place])
            log.gathered[kind] = made, len(log.experiments)
            return cast(G, made)
