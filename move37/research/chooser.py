"""Which model is asked next: the one that pays, as far as is known by now.

A gain is what an answer was worth, from 0 to 1; a model's gains are taken as events that come at
an unknown rate r per dollar (a Poisson process). After the gains G for the dollars D the belief
about r is a Gamma distribution, and one draw from it decides (Thompson sampling):

    r ~ Gamma(shape = 1 + G, scale = 1 / (d + D))           the largest weight * r is asked

d is what a call costs on average. So a model starts as if it had gained once in one call: each is
tried, and one that does not pay fades. A call counts as a tenth of d at least, or else a model
that costs nothing would never fade.
"""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from move37.records import InputError
from move37.research.models import ModelSpec


@dataclass(frozen=True)
class Payoff:
    """What one answer, or one experiment, cost and brought."""

    model: str
    dollars: float | None  # None: not known, taken as the average
    gain: float  # 0 to 1; beyond is cut


def choose(
    specs: Sequence[ModelSpec],
    payoffs: Callable[[], Sequence[Payoff]],
    *,
    role: str,
    dice: str,
) -> ModelSpec:
    """Returns the model to ask; the same arguments give the same model.

    `payoffs` is asked for the history only where there is a choice. `dice` names the attempt, as a
    brief does. A model's draw depends on its own history and on the average cost, not on which
    others there are or in which order. Raises InputError if no model plays the role.
    """
    able = [spec for spec in specs if spec.plays(role)]
    if not able:
        raise InputError(f"no model plays {role!r}: name it in the roles of one, or leave them out")
    if len(able) == 1:
        return able[0]
    history = payoffs()
    known = [payoff.dollars for payoff in history if payoff.dollars is not None]
    average = math.fsum(known) / len(known) if any(known) else 1.0

    def score(spec: ModelSpec) -> float:
        mine = [payoff for payoff in history if payoff.model == spec.name]
        gains = math.fsum(min(max(payoff.gain, 0.0), 1.0) for payoff in mine)
        spent = math.fsum(
            average if payoff.dollars is None else max(payoff.dollars, average / 10)
            for payoff in mine
        )
        draw = random.Random(f"{dice} {role} {spec.name}")
        return spec.weight * draw.gammavariate(1 + gains, 1 / (average + spent))

    return max(able, key=score)
