"""When a training is clearly behind, by the baselines' curves.

A candidate may be slow at first and good later; so it is only stopped from the middle on, and only
when it is behind the worst baseline by a margin.
"""

from collections.abc import Iterable

from move37.records import Measurement, Stop

EARLIEST = 0.5  # share of the budget before which nothing is stopped
MARGIN = 0.10  # share of the worst baseline's loss


def stops_from(baselines: Iterable[Measurement]) -> tuple[Stop, ...]:
    """Returns the thresholds at each point of the curves, but the last, from the middle on."""
    worst: dict[tuple[str, int], float] = {}
    for measurement in baselines:
        for point in measurement.curve[:-1]:
            if point.tokens >= EARLIEST * measurement.tokens:
                place = (measurement.task, point.tokens)
                worst[place] = max(worst.get(place, 0.0), point.loss)
    return tuple(Stop(task, tokens, loss * (1 + MARGIN)) for (task, tokens), loss in worst.items())
