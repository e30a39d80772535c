"""All that was measured of one candidate, gathered from its records. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from move37.records import Candidate, CheckResult, InputError, Measured, Measurement, Record

LOSS_TASK = "language"


@dataclass(frozen=True)
class Result:
    """All that was measured of one candidate, over its records."""

    experiment: int
    candidate: Candidate
    parents: tuple[str, ...]
    checks: tuple[CheckResult, ...]
    measurements: tuple[Measurement, ...]

    @property
    def is_baseline(self) -> bool:
        """Says whether it is a published mixer."""
        return self.candidate.proposal.is_baseline

    @property
    def failed(self) -> bool:
        """Says whether it fails a check, by declaration: it then has no children."""
        return any(check.verdict == "failed" for check in self.checks)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds on which it was trained."""
        return tuple(sorted({m.seed for m in self.measurements}))

    def of(self, task: str, seed: int) -> Measurement:
        """Returns the measurement of one task and seed; raises KeyError if there is none."""
        for measurement in self.measurements:
            if (measurement.task, measurement.seed) == (task, seed):
                return measurement
        raise KeyError(f"{self.candidate.proposal.name}: no {task} with seed {seed}")

    def mean(self, task: str) -> float:
        """Returns the task's value, averaged over seeds."""
        values = [m.value for m in self.measurements if m.task == task]
        return sum(values) / len(values)

    @property
    def benchmarks(self) -> tuple[str, ...]:
        """The tasks apart from the language loss."""
        names = dict.fromkeys(m.task for m in self.measurements if m.task != LOSS_TASK)
        return tuple(names)

    @property
    def loss(self) -> float:
        """Bits per byte on held-out text, averaged over seeds."""
        return self.mean(LOSS_TASK)

    @property
    def benchmark(self) -> float:
        """Mean score of the other tasks, averaged over seeds."""
        return sum(self.mean(task) for task in self.benchmarks) / len(self.benchmarks)


def results(records: Sequence[Record]) -> list[Result]:
    """Returns one result per candidate that was measured and not rejected afterwards.

    In order of the records. A later failure in the same experiment (a further seed that crashes,
    the full verification of an implausible gain) takes the candidate out: it has no fitness.
    """
    found: dict[str, Result] = {}
    for record in records:
        identity, outcome = record.candidate.id, record.outcome
        if not isinstance(outcome, Measured):
            # A later repetition of the program, refused as known, says nothing about it.
            if identity in found and found[identity].experiment == record.experiment:
                del found[identity]
        elif identity in found and found[identity].experiment != record.experiment:
            continue  # the same program in another experiment tells nothing new
        elif identity in found:
            earlier = found[identity]
            found[identity] = Result(
                earlier.experiment,
                earlier.candidate,
                earlier.parents,
                earlier.checks,
                earlier.measurements + outcome.measurements,
            )
        elif outcome.measurements:
            found[identity] = Result(
                record.experiment,
                record.candidate,
                record.parents,
                outcome.checks,
                outcome.measurements,
            )
    return list(found.values())


def find(records: Sequence[Record], identity: str) -> int:
    """Returns the experiment that is meant; raises InputError if none or several are.

    Of several, the only one that was measured is meant.
    """
    if identity.isdecimal() and any(record.experiment == int(identity) for record in records):
        return int(identity)
    exact = {r.experiment for r in records if r.candidate.proposal.name == identity}
    found = exact or {r.experiment for r in records if r.candidate.id.startswith(identity)}
    measured = {r.experiment for r in records if isinstance(r.outcome, Measured)} & found
    if len(found) == 1 or len(measured) == 1:
        return min(measured or found)
    if found:
        numbers = ", ".join(str(number) for number in sorted(found))
        raise InputError(f"{identity!r} means experiments {numbers}: give one of these numbers")
    raise InputError(
        f"no experiment {identity!r}: expected an id, a number or a name that `move37 top` shows"
    )
