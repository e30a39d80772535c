"""How a candidate is shown to a model: its words, its program, and its result over all records."""

from collections.abc import Sequence

from move37.history import History
from move37.records import Crashed, Record, Rejected
from move37.results import results


def shown(identity: str, records: Sequence[Record]) -> dict[str, str] | None:
    """Returns name, motivation, source and result of a candidate; None if it is not among them."""
    mine = History.of(records).of_candidate(identity)
    if not mine:
        return None
    last = mine[-1]
    proposal = last.candidate.proposal
    return {
        "name": proposal.name,
        "motivation": proposal.motivation,
        "source": proposal.source,
        "result": _result(last, mine),
    }


def failure(record: Record) -> str:
    """Returns why a program was not measured, with the evidence."""
    name, outcome = record.candidate.proposal.name, record.outcome
    if isinstance(outcome, Rejected):
        return f"{name}: refused by the check {outcome.check!r}: {outcome.evidence}"
    assert isinstance(outcome, Crashed)
    return f"{name}: crashed at {outcome.stage!r}: {outcome.error}"


def _result(last: Record, mine: Sequence[Record]) -> str:
    found = results(mine)
    if not found:
        return failure(last) if isinstance(last.outcome, Rejected | Crashed) else "Not measured."
    result = found[0]
    metrics = {m.task: m.metric for m in result.measurements}
    means = (f"{task} {result.mean(task):.3f} {metric}" for task, metric in metrics.items())
    seeds = len(result.seeds)
    return f"Measured on {seeds} seed{'s' * (seeds > 1)}: {', '.join(means)}."
