"""Has this idea been tried already, in another program? The nearest five are put to a model."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from move37.knowledge.retrieval import Embedder
from move37.records import Brief, Candidate, Proposal, Rejected
from move37.research.answers import Unusable
from move37.research.roles import Asker, read_flag, read_prose

ROLE = "novelty_judge"
NEAREST = 5


class Tried(NamedTuple):
    """What was tried before, and in which experiment first."""

    experiment: int
    proposal: Proposal


def nearest(
    proposal: Proposal, tried: Sequence[tuple[int, Proposal]], embedder: Embedder, count: int
) -> list[Tried]:
    """Returns the programs whose motivations are nearest in meaning, best first."""
    firsts: dict[str, Tried] = {}
    for experiment, other in tried:
        firsts.setdefault(Candidate.of(other).id, Tried(experiment, other))
    if not firsts:
        return []
    others = [_meaning(one.proposal) for one in firsts.values()]
    vectors = embedder.embed([_meaning(proposal), *others])
    nearness = np.nan_to_num(vectors[1:] @ vectors[0], nan=-1.0)
    # Rounded, with ties by id: the last bits of a sum differ between machines.
    keyed = zip(nearness, firsts, strict=True)
    order = sorted((-round(float(near), 5), identity) for near, identity in keyed)
    return [firsts[identity] for _, identity in order[:count]]


def known_idea(
    asker: Asker,
    brief: Brief,
    proposal: Proposal,
    tried: Sequence[tuple[int, Proposal]],
    embedder: Embedder,
) -> Rejected | None:
    """Refuses an idea that a model finds among the nearest; what cannot be read is new.

    The attempts of this experiment are not compared with: a repair keeps its idea.
    """
    older = [(number, other) for number, other in tried if number != brief.experiment]
    near = nearest(proposal, older, embedder, NEAREST)
    if not near:
        return None
    values = {
        "name": proposal.name,
        "motivation": proposal.motivation,
        "source": proposal.source,
        "nearest": [
            {"name": one.proposal.name, "motivation": one.proposal.motivation} for one in near
        ],
    }

    def read(answer: Mapping[str, Any]) -> Rejected | None:
        if not read_flag("same", answer["same"]):
            return None
        called = str(answer.get("as", "")).strip()
        same = next((one for one in near if one.proposal.name == called), near[0])
        try:
            why = read_prose("why", answer.get("why", ""), most=1_000)
        except Unusable:
            why = "no reason was given"
        told = f"the same idea as {same.proposal.name} of experiment {same.experiment}"
        return Rejected("novelty", f"{told}: {why}")

    spec = asker.choose(ROLE, brief.dice)
    return asker.ask(spec, ROLE, values, ("same",), read, experiment=brief.experiment)


def _meaning(proposal: Proposal) -> str:
    return proposal.motivation.strip() or proposal.name.strip() or "mixer"
