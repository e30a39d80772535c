"""Stand-ins that answer at once: a lab that measures by hash, and a researcher that is told."""

import hashlib
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from move37.presets import SMOKE, Preset
from move37.records import (
    Assignment,
    Brief,
    CheckResult,
    Crashed,
    CurvePoint,
    Lesson,
    Measured,
    Measurement,
    Outcome,
    Proposal,
    Record,
    Rejected,
)
from move37.search.pool import Selection


def preset(**changes: object) -> Preset:
    """The smoke preset with a small selection, for loops that take milliseconds."""
    selection = Selection(cold_start=2, batch=1, lag=3)
    return replace(SMOKE, selection=selection, **changes)  # type: ignore[arg-type]


class FakeLab:
    """Measures by the hash of program, task and seed; programs that hold FAIL or CRASH do so.

    Slow now and then, so that several workers end in another order than they began.
    """

    def __init__(self, *, jitter: float = 0.0, gain: float = 0.0) -> None:
        self.assignments: list[Assignment] = []
        self._jitter, self._gain = jitter, gain
        self._lock = threading.Lock()

    def examine(
        self, assignment: Assignment, progress: Callable[[str], None] = lambda stage: None
    ) -> Outcome:
        with self._lock:
            self.assignments.append(assignment)
        progress("train")
        time.sleep(self._jitter * random.random())
        if "FAIL" in assignment.source:
            return Rejected("causality", "it leaks")
        if "CRASH" in assignment.source:
            return Crashed("load", "ValueError: no")
        checks = tuple(CheckResult(name, "passed", "fine") for name in assignment.checks)
        measurements = tuple(
            self._measure(assignment.source, budget.task, seed, budget.tokens)
            for seed in assignment.seeds
            for budget in assignment.budgets
        )
        return Measured(checks, measurements)

    def _measure(self, source: str, task: str, seed: int, tokens: int) -> Measurement:
        def share(text: str) -> float:
            return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) / 16**8

        good = share(source + task) + 0.1 * share(f"{source}{task}{seed}") + self._gain
        language = task == "language"
        value = 3 - 0.5 * good if language else 0.5 + 0.4 * min(1, good)
        return Measurement(
            task=task,
            seed=seed,
            metric="bits per byte" if language else "accuracy",
            value=value,
            tokens=tokens,
            stopped=False,
            seconds=random.random(),
            peak_bytes=random.randrange(1000),
            state_bytes=1000,
            flops_per_token=1e5,
            parameters=24_000,
            curve=(CurvePoint(tokens, 3 - good, value),),
        )


class Told:
    """A researcher that answers with the given programs, one after the other, by attempt."""

    def __init__(self, programs: Callable[[Brief], str]) -> None:
        self.briefs: list[Brief] = []
        self._programs = programs

    def propose(self, brief: Brief) -> Proposal:
        self.briefs.append(brief)
        name = f"Told{brief.experiment}"
        return Proposal(name, "It may help.", self._programs(brief), "told")


class Memory:
    """A store that keeps nothing after the test."""

    def __init__(self) -> None:
        self.experiments: list[list[Record]] = []
        self._lessons: list[Lesson] = []

    def append(self, records: Sequence[Record], lessons: Sequence[Lesson] = ()) -> None:
        self.experiments.append(list(records))
        self._lessons += lessons

    def records(self) -> list[Record]:
        return [record for records in self.experiments for record in records]

    def lessons(self) -> list[Lesson]:
        return list(self._lessons)
