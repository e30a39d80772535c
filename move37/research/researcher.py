"""What a researcher is: something that answers a brief with a proposal."""

from typing import Protocol

from move37.records import Brief, Proposal, Rejected


class NoProposal(Exception):
    """There is no program to examine; `outcome` is what is recorded, `proposal` what was said."""

    def __init__(self, proposal: Proposal, outcome: Rejected) -> None:
        super().__init__(outcome.evidence)
        self.proposal, self.outcome = proposal, outcome


class Researcher(Protocol):
    """The offline composer, a team of language models, or an agent outside."""

    def propose(self, brief: Brief) -> Proposal:
        """Returns motivation and program together; raises NoProposal if there is none.

        The composer gives the same proposal for the same brief.
        """
        ...
