"""Has this program been tried already?"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from move37.history import History
from move37.records import Proposal, Record, Rejected
from move37.research.syntax import fingerprint, is_current
from move37.results import Result


def repeats(
    proposal: Proposal, tried: Iterable[tuple[int, Proposal]], known: History | None = None
) -> Rejected | None:
    """Refuses a program that was tried already, apart from comments and names of classes.

    `tried` holds the number of the experiment with each program; `known` are others, older ones.
    """
    same = _same(proposal)
    if known is not None:
        programs, border = known.gathered(_Programs).firsts, known.border
        first = min((programs[one] for one in same if one in programs), default=None)
        if first is not None and first.experiment < border:
            return _refused(first.experiment, first.name)
    for experiment, other in tried:
        if not same.isdisjoint(_same(other)):
            return _refused(experiment, other.name)
    return None


def _same(proposal: Proposal, mark: str = "") -> set[str | tuple[str, ...]]:
    """Returns what no two programs may have in common; `mark` is a fingerprint that was kept."""
    parts = {proposal.components} if proposal.components else set()
    return {mark if is_current(mark) else fingerprint(proposal.source), *parts}


def _refused(experiment: int, name: str) -> Rejected:
    return Rejected("novelty", f"the same program as {name} of experiment {experiment}")


class _First(NamedTuple):
    """Where a program was tried first."""

    experiment: int
    step: int
    name: str


class _Programs:
    """What was tried in a history, and where first."""

    def __init__(self) -> None:
        self.firsts: dict[str | tuple[str, ...], _First] = {}

    def take(self, experiment: Sequence[Record], found: Sequence[Result]) -> None:  # noqa: ARG002
        """Takes in the next experiment."""
        for record in experiment:
            proposal = record.candidate.proposal
            for one in _same(proposal, record.candidate.fingerprint):
                self.firsts.setdefault(one, _First(record.experiment, record.step, proposal.name))
