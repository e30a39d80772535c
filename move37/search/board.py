"""Who is how fit, from all results of a history, without going through all of them each time.

Slow twin: `Scale(results(records))`, and the fitness of each result by it. Here gains and costs are
found once, as an experiment is taken in; the noise is kept in sums; and what changes with each
experiment, the fitness of all, is one line of arithmetic over arrays.
"""

from array import array
from bisect import bisect_left
from collections.abc import Sequence

import numpy as np

from move37.history import History
from move37.records import REFERENCE, Measured, Record
from move37.results import Result
from move37.search.fitness import (
    AXES,
    TIES,
    Form,
    Gains,
    Scale,
    Unscaled,
    best_of,
    by_seed,
    gains_on,
    judgement_on,
    mixed,
    noise_of_gains,
    shared_seeds,
    terms,
)
from move37.statistics import RunNoise


class Board:
    """The candidates of a history that can be compared, as of its border."""

    def __init__(self, history: Sequence[Record]) -> None:
        history = self._history = History.of(history)
        self._kept, border = history.gathered(_Kept), history.border
        self._count = bisect_left(self._kept.places, border)  # of those that can be compared
        self._tried = bisect_left(self._kept.tried, border)
        kept = self._kept.reference
        self._reference = kept if kept is not None and kept.experiment < border else None
        self.baselines = [(r, gains) for r, gains in self._kept.baselines if r.experiment < border]

    def scale(self, more: Sequence[Result] = ()) -> Scale:
        """Returns the scale, with `more` results than the history holds; raises Unscaled."""
        reference = self._reference
        if reference is None:
            raise Unscaled("the reference was not measured")
        noises = dict(self._kept.noises[self._count - 1])
        for result in more:
            shared = shared_seeds(result, reference)
            if shared:
                gains = gains_on(reference, result)
                for axis in AXES:
                    noises[axis] = noises[axis].plus(by_seed(shared, gains, axis))
        try:
            noise = {axis: noise_of_gains(noises[axis].noise()) for axis in AXES}
        except ValueError as error:
            raise Unscaled(str(error)) from None
        published = best_of([gains for _, gains in self.baselines])
        tried = self._tried + sum(not result.is_baseline for result in more)
        return Scale(reference, noise, published, tried, self._history.judge_share, self._grade)

    def _grade(self, candidate: str) -> float | None:
        """Returns the mean grade that a language model gave, from 0 to 1."""
        told = self._history.judgement(candidate)
        if told is None:
            return None
        return (told.innovation + told.complexity + told.correctness) / 30

    def fittest(self, most: int, form: Form, *, parents: bool = False) -> list[int]:
        """Returns the places of the fittest candidates, the fittest first; raises Unscaled.

        With `parents`, of those that may have children.
        """
        scale = self.scale()
        loss, benchmark, judged, failed = (self._column(one) for one in self._kept.columns)
        if share := self._history.judge_share:
            asked = (self._grade(one.candidate.id) for one in self._kept.results[: self._count])
            judged = np.array([mixed(*both, share) for both in zip(judged, asked, strict=True)])
        value = terms(scale, "loss", loss, form) + terms(scale, "benchmark", benchmark, form)
        tied = np.rint(TIES * value)
        if form == "paper":
            tied = value = value + judged / 3
        places = np.flatnonzero(failed == 0) if parents else np.arange(self._count)
        places = _greatest(places, most, (tied, judged, value))
        # The last key counts first; of equals, the older.
        order = np.lexsort((-places, value[places], judged[places], tied[places]))[::-1]
        return [int(place) for place in places[order][:most]]

    def result(self, place: int) -> Result:
        """Returns the result at a place."""
        return self._kept.results[place]

    def first(self, place: int) -> Record:
        """Returns the record with the first measurement of the result at a place."""
        return self._kept.firsts[place]

    def _column(self, column: "array[float]") -> np.ndarray:
        # A copy: an array that is looked into cannot grow.
        return np.array(column[: self._count])


def _greatest(places: np.ndarray, most: int, keys: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the places that may be among the greatest, by the first key, and of equals by the
    next: no more of them than `most`, but for equals by all keys."""
    sure = []
    for key in keys:
        if len(places) <= most:
            break
        values = key[places]
        least = np.partition(values, len(values) - most)[len(values) - most]
        sure.append(places[values > least])
        most -= len(sure[-1])
        places = places[values == least]
    return np.concatenate([*sure, places])


class _Kept:
    """The results, in order, and what is known of each."""

    def __init__(self) -> None:
        self.reference: Result | None = None
        self.waiting: list[tuple[Result, Record]] = []  # for the reference
        self.tried: list[int] = []  # experiments of all that are no baselines
        # Of those that share a seed with the reference:
        self.results: list[Result] = []
        self.firsts: list[Record] = []
        self.noises: list[dict[str, RunNoise]] = []  # by axis, with those before it
        self.columns = tuple(array("d") for _ in ("loss", "benchmark", "judgement", "failed"))
        self.baselines: list[tuple[Result, Gains]] = []
        self.places: list[int] = []  # experiments; the last that grows

    def take(self, experiment: Sequence[Record], found: Sequence[Result]) -> None:
        """Takes in the next experiment."""
        for result in found:
            if not result.is_baseline:
                self.tried.append(result.experiment)
            elif result.candidate.proposal.name == REFERENCE:
                self.reference = result
            self.waiting.append((result, _first(experiment, result)))
        if self.reference is not None:
            for result, first in self.waiting:
                if shared := shared_seeds(result, self.reference):
                    self._compare(self.reference, result, first, shared)
            self.waiting.clear()

    def _compare(
        self, reference: Result, result: Result, first: Record, shared: Sequence[int]
    ) -> None:
        gains = gains_on(reference, result)
        before = self.noises[-1] if self.noises else dict.fromkeys(AXES, RunNoise())
        self.noises.append({axis: before[axis].plus(by_seed(shared, gains, axis)) for axis in AXES})
        self.results.append(result)
        self.firsts.append(first)
        if result.is_baseline:
            self.baselines.append((result, gains))
        means = [sum(each) / len(each) for each in (gains.loss, gains.benchmark)]
        row = (*means, judgement_on(reference, result), float(result.failed))
        for column, value in zip(self.columns, row, strict=True):
            column.append(value)
        self.places.append(result.experiment)


def _first(experiment: Sequence[Record], result: Result) -> Record:
    return next(
        record
        for record in experiment
        if record.candidate.id == result.candidate.id and isinstance(record.outcome, Measured)
    )
