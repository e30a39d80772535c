"""Asks with less where a request is too long for the model, and says in it what was left out.

Each role has its own order: what helps least goes first. What it cannot do without stays, so a
request may be too long in the end.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from move37.research.answers.prose import encodable
from move37.research.models import LanguageModels, ModelSpec, Reply, TooLong
from move37.research.prompts import prompt

PROGRAMS = "programs of references"
# By role, from the first step on: how many of each value are kept.
SHORTER: Mapping[str, tuple[Mapping[str, int], ...]] = {
    "researcher": (
        {"knowledge": 2, PROGRAMS: 2},
        {"lessons": 4, "knowledge": 1, PROGRAMS: 0},
        {"references": 2, "lessons": 2, "knowledge": 0, PROGRAMS: 0},
        {"references": 0, "lessons": 0, "knowledge": 0},
    ),
    "engineer": ({"earlier": 0}, {"earlier": 0, "operators": 0}),
    "novelty_judge": ({"program": 0}, {"program": 0, "nearest": 2}, {"program": 0, "nearest": 1}),
    "analyst": (
        {"siblings": 1, "grandparent": 0},
        {"siblings": 0, "grandparent": 0},
        {"siblings": 0, "grandparent": 0, "parent": 0},
    ),
    "summariser": ({"lessons": 16}, {"lessons": 8}),
    "judge": ({"result": 0}, {"result": 0, "motivation": 0}),  # the docstring says it too
}
NEWEST_LAST = ("lessons", "earlier")  # of these the last are kept, of others the first: the nearest


def ask(
    models: LanguageModels,
    spec: ModelSpec,
    role: str,
    values: Mapping[str, Any],
    told: str,
    *,
    max_output_tokens: int,
    experiment: int,
) -> Reply:
    """Returns the answer to the longest request that the model takes, with `told` behind it.

    Raises TooLong if it takes none, or ProviderFailed, BudgetSpent or InputError.
    """
    sent = ""
    for keep in ({}, *SHORTER[role]):
        system, request = prompt(role).render(**_shortened(values, keep))
        if request == sent:
            continue  # nothing of it was there
        sent = request
        try:
            reply = models.ask(
                spec,
                system,
                request + told,
                role=role,
                max_output_tokens=max_output_tokens,
                experiment=experiment,
            )
            # Half a character could be neither kept nor sent back.
            return replace(reply, text=encodable(reply.text))
        except TooLong as error:
            refused = error
    raise refused


def _shortened(values: Mapping[str, Any], keep: Mapping[str, int]) -> dict[str, Any]:
    """Returns the values with less of what may be left out, and `left_out`, which says of what."""
    shorter, left_out = dict(values), []
    for name, count in keep.items():
        there = shorter["references" if name == PROGRAMS else name]
        if name == PROGRAMS:
            if count < len(there):
                left_out.append(name)
                bare = [one | {"source": ""} for one in there[count:]]
                shorter["references"] = [*there[:count], *bare]
        elif not isinstance(there, list):
            if there:
                left_out.append(name)
                shorter[name] = None
        elif count < len(there):
            left_out.append(f"{len(there) - count} {name}")
            shorter[name] = there[len(there) - count :] if name in NEWEST_LAST else there[:count]
    return shorter | {"left_out": ", ".join(left_out)}
