"""Who is asked about a proposal and about what came of it, beside what machines decide."""

from collections.abc import Sequence
from typing import Protocol

from move37.records import Brief, Judgement, Lesson, Proposal, Record, Rejected
from move37.research.analyst import analyse


class Advisers(Protocol):
    """Nobody but the offline analyst, or a team of language models."""

    def known(
        self,
        brief: Brief,
        proposal: Proposal,
        tried: Sequence[tuple[int, Proposal]],
        history: Sequence[Record] = (),
    ) -> Rejected | None:
        """Refuses an idea that was tried in another program.

        `tried` has those of experiments beside this one, `history` the records of older ones.
        """
        ...

    def analyse(self, experiment: Sequence[Record], history: Sequence[Record]) -> Lesson:
        """Returns the lesson of one experiment; `history` holds all records before it."""
        ...

    def judge(self, experiment: Sequence[Record], history: Sequence[Record]) -> Judgement | None:
        """Returns what is thought of the experiment, which is in the store by now; keeps it.

        None if nothing is, or it was asked about before: a run that goes on asks about its newest
        experiment once more, which a kill may have left without.
        """
        ...


class Offline:
    """Asks no model: every new program is a new idea, and lessons are computed."""

    def known(
        self,
        brief: Brief,  # noqa: ARG002  the same signature for all
        proposal: Proposal,  # noqa: ARG002
        tried: Sequence[tuple[int, Proposal]],  # noqa: ARG002
        history: Sequence[Record] = (),  # noqa: ARG002
    ) -> Rejected | None:
        """Refuses nothing."""
        return None

    def analyse(self, experiment: Sequence[Record], history: Sequence[Record]) -> Lesson:
        """Returns the computed lesson."""
        return analyse(experiment, history)

    def judge(
        self,
        experiment: Sequence[Record],  # noqa: ARG002
        history: Sequence[Record],  # noqa: ARG002
    ) -> Judgement | None:
        """Thinks nothing."""
        return None
