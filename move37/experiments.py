"""One experiment in full, gathered from all records: for `move37 show` and for an agent's tool."""

from collections.abc import Sequence
from dataclasses import dataclass

from move37.history import History
from move37.presets import warnings_for
from move37.records import CheckResult, Crashed, Judgement, Lesson, Measured, Record
from move37.search.fitness import Form
from move37.search.leaderboard import Row, row_of


@dataclass(frozen=True)
class Experiment:
    """What is known of one experiment."""

    row: Row | None  # its line of the leaderboard; None if it has none
    records: tuple[Record, ...]
    lesson: Lesson | None
    lineage: tuple[str, ...]  # names: parent, grandparent, and so on
    judgement: Judgement | None
    warnings: tuple[str, ...]  # that belong to its numbers

    @property
    def last(self) -> Record:
        """The record that says what became of it."""
        return self.records[-1]

    @property
    def checks(self) -> tuple[CheckResult, ...]:
        """The last checks that its last candidate went through; a further seed has none."""
        for record in reversed(self.records):
            if record.candidate != self.last.candidate or isinstance(record.outcome, Crashed):
                continue
            if record.outcome.checks:
                return record.outcome.checks
        return ()


def gather(history: History, number: int, form: Form = "noise") -> Experiment:
    """Returns what the history knows of the experiment of this number, which it has to hold."""
    records = history.experiment(number)
    identity = records[-1].candidate.id
    # Another experiment may have measured the same program: that is no result of this one.
    is_measured = isinstance(records[-1].outcome, Measured)
    return Experiment(
        row=row_of(history, identity, form) if is_measured else None,
        records=tuple(records),
        lesson=next((one for one in history.lessons if one.experiment == number), None),
        lineage=_lineage(history, records[-1]),
        judgement=history.judgement(identity) if is_measured else None,
        warnings=warnings_for(records),
    )


def _lineage(records: Sequence[Record], record: Record) -> tuple[str, ...]:
    by_id = {one.candidate.id: one for one in records}
    names, seen = [], {record.candidate.id}
    while record.parents and record.parents[0] in by_id.keys() - seen:
        record = by_id[record.parents[0]]
        seen.add(record.candidate.id)
        names.append(record.candidate.proposal.name)
    return tuple(names)
