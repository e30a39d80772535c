"""What a researcher is: something that answers a brief with a proposal."""

from typing import Protocol

from move37.records import Brief, Proposal


class Researcher(Protocol):
    """The offline composer, a team of language models, or an agent outside."""

    def propose(self, brief: Brief) -> Proposal:
        """Returns motivation and program together; the same brief gives the same proposal."""
        ...
