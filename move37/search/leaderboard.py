"""The leaderboard: what was measured, best first, with what is certain about it."""

from collections.abc import Sequence
from dataclasses import dataclass

from move37.history import History
from move37.records import Record
from move37.results import LOSS_TASK, Result
from move37.search.board import Board
from move37.search.fitness import Form, Scale, Unscaled, Verdict


@dataclass(frozen=True)
class Row:
    """One line of the leaderboard."""

    id: str
    name: str
    origin: str
    experiment: int
    fitness: float
    interval: tuple[float, float]  # 95 %, of the fitness
    verdict: Verdict  # against DeltaNet, corrected for all that were tried
    loss: float  # bits per byte, held-out text
    benchmark: float  # mean score of the other tasks, 0 to 1
    scores: dict[str, float]  # task -> value
    judgement: float  # 0 to 1, counted cost; 0.5 is DeltaNet's
    parameters: int  # without embeddings
    state_bytes: int | None
    flops_per_token: float
    seeds: tuple[int, ...]
    stopped: tuple[str, ...]  # tasks on which training ended early
    parents: tuple[str, ...]

    @property
    def is_baseline(self) -> bool:
        """Says whether it is a published mixer."""
        return self.origin == "baseline"


def leaderboard(
    records: Sequence[Record], form: Form = "noise", *, most: int | None = None
) -> list[Row]:
    """Returns the measured candidates, fittest first; empty while the reference is missing.

    `most` of them, if it is given.
    """
    board = Board(records)
    try:
        places = board.fittest(len(records) if most is None else most, form)
        scale = board.scale()
    except Unscaled:
        return []
    return [_row(scale, board.result(place), form) for place in places]


def row_of(history: History, identity: str, form: Form = "noise") -> Row | None:
    """Returns the row of one candidate; None if it has none."""
    result = history.result(identity)
    try:
        scale = Board(history).scale()
    except Unscaled:
        return None
    return _row(scale, result, form) if result and scale.compares(result) else None


def _row(scale: Scale, result: Result, form: Form) -> Row:
    proposal, fitness = result.candidate.proposal, scale.fitness(result, form)
    language = next(m for m in result.measurements if m.task == LOSS_TASK)
    tasks = (LOSS_TASK, *result.benchmarks)
    return Row(
        id=result.candidate.id,
        name=proposal.name,
        origin=proposal.origin,
        experiment=result.experiment,
        fitness=fitness.value,
        interval=(fitness.interval.low, fitness.interval.high),
        verdict=scale.verdict(result),
        loss=result.loss,
        benchmark=result.benchmark,
        scores={task: result.mean(task) for task in tasks},
        judgement=fitness.judgement,
        parameters=language.parameters,
        state_bytes=language.state_bytes,
        flops_per_token=language.flops_per_token,
        seeds=result.seeds,
        stopped=tuple(dict.fromkeys(m.task for m in result.measurements if m.stopped)),
        parents=result.parents,
    )
