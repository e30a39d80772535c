"""What the records decide: when a training is hopeless, whether a further seed is worth it, what is
too good to be believed at once, and whether the baselines are a ruler at all. Pure.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from move37.records import Measured, Measurement, Record, RunFailed, Stop
from move37.results import Result, results
from move37.search.board import Board
from move37.search.fitness import Scale

# A candidate may be slow at first and good later: it is stopped from the middle on only.
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


def question_is_open(known: Sequence[Record], experiment: Sequence[Record], candidate: str) -> bool:
    """Says whether this candidate may still beat the best baseline that may have children.

    Closed once the 95 % interval of its fitness lies below: a further seed would be wasted.
    """
    board = Board(known)
    scale, result = _with(board, experiment, candidate)
    rivals = scale.values([gains for one, gains in board.baselines if not one.failed])
    return scale.fitness(result).interval.high > max(rivals)


def too_good(known: Sequence[Record], experiment: Sequence[Record], candidate: str) -> bool:
    """Says whether the gain is so large that the verifier has to look again, at full level."""
    scale, result = _with(Board(known), experiment, candidate)
    return scale.fitness(result).implausible


def _with(board: Board, experiment: Sequence[Record], candidate: str) -> tuple[Scale, Result]:
    """Returns the scale once the experiment's results are in, and the candidate's result."""
    found = results(experiment)
    return board.scale(found), next(one for one in found if one.candidate.id == candidate)


@dataclass(frozen=True)
class Ruler:
    """What the baselines must show before anything is measured against them."""

    task: str
    better: str
    worse: str
    gap: float  # on every seed
    ceiling: str
    near: float  # what the ceiling must reach on every seed


def check_ruler(ruler: Ruler, records: Sequence[Record]) -> None:
    """Raises RunFailed unless the baselines stand as they must: a bent ruler measures nothing."""
    value = {
        (record.candidate.proposal.name, m.seed): m.value
        for record in records
        if record.candidate.proposal.is_baseline and isinstance(record.outcome, Measured)
        for m in record.outcome.measurements
        if m.task == ruler.task
    }
    for seed in sorted({seed for _, seed in value}):
        better, worse = value[ruler.better, seed], value[ruler.worse, seed]
        ceiling = value[ruler.ceiling, seed]
        if better - worse < ruler.gap or ceiling < ruler.near:
            raise RunFailed(
                f"the ruler does not hold: on {ruler.task} with seed {seed}, {ruler.better} has "
                f"{better:.2f}, {ruler.worse} {worse:.2f}, {ruler.ceiling} {ceiling:.2f}; expected "
                f"{ruler.better} above {ruler.worse} by {ruler.gap} and {ruler.ceiling} at least "
                f"{ruler.near}. Nothing was measured against it. The budgets of the preset are "
                "too small for these library versions, or an operator is broken: run `make test`"
            )
