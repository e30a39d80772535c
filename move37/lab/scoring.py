"""One training run of a candidate: the task, the model around the mixers and the score are here.

What is scored is told by a process that was never trained, with the weights that were learned here,
and played in one that has not loaded the program.
"""

import time
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from move37.lab.costing import Played, decoded, layers, logits, played, state_bytes
from move37.lab.link import hash_of
from move37.lab.recompute import Inputs, faults, of_the_future
from move37.lab.remote import Mixers, Player, Process, Refused, Start
from move37.nn.counting import Work
from move37.nn.language_model import LanguageModel, TooLarge, meets
from move37.records import Assignment, CheckResult, CurvePoint, Measurement, TaskBudget
from move37.tasks import task
from move37.tasks.task import Batch
from move37.train.trainer import (
    Diverged,
    Fit,
    build,
    fit,
    mixer_seeds,
    peak_bytes,
    reset_peak,
    score,
)

# Trained weights are larger than drawn ones: float64 rounding grows with them.
TRAINED_TOLERANCE = 1e-6
# Rounding in float32 is some 1e-6 of the largest logit; what is let through is below 1e-3 of it.
SCORED_TOLERANCE = 1e-3
# Of the held-out loss, between the process that was trained and one that was not.
SAME_TOLERANCE = 1e-3


class NotReady(Exception):
    """A task cannot give its batches: our fault, or the installation's, and no candidate's."""


def prepare(budgets: Sequence[TaskBudget]) -> None:
    """Draws from each task once; raises NotReady if one cannot."""
    for budget in budgets:
        what = task(budget.task)
        try:
            what.held_out(batch=budget.batch, length=budget.length)
            next(what.train(seed=0, batch=budget.batch, length=budget.length))
        except Exception as error:
            raise NotReady(f"the task {budget.task!r} has no batches: {error}") from error


class _Trained(NamedTuple):
    """What a training gave."""

    fit: Fit
    drawn: dict[str, Tensor]  # the weights before
    weights: dict[str, Tensor]
    parameters: int
    peak_bytes: int


def measured(
    assignment: Assignment,
    budget: TaskBudget,
    seed: int,
    start: Start,
    enter: Callable[[str], None],
) -> Measurement | CheckResult:
    """Returns the measurement of one run, or the check that failed in it."""
    started = time.perf_counter()
    try:
        trained = _train(assignment, budget, seed, start, enter)
        enter(f"verify: {budget.task} with trained weights")
        last, flops, states = _examine(trained, budget, seed, start, assignment)
    except Refused as error:
        return CheckResult(error.check, "failed", error.evidence)
    except TooLarge as error:
        return CheckResult("fits", "failed", str(error))
    except Diverged as error:
        return CheckResult("trainable", "failed", f"{budget.task} with seed {seed}: {error}")
    curve = (*trained.fit.curve[:-1], last)
    return Fit(curve, trained.fit.stopped).measurement(
        budget,
        seed=seed,
        seconds=time.perf_counter() - started,
        peak_bytes=trained.peak_bytes,
        state_bytes=states,
        flops_per_token=flops,
        parameters=trained.parameters,
    )


def _train(
    assignment: Assignment,
    budget: TaskBudget,
    seed: int,
    start: Start,
    enter: Callable[[str], None],
) -> _Trained:
    where = f"train: {budget.task}, seed {seed}"
    enter(where)
    device = assignment.device
    memory = reset_peak(device)
    with start() as process:
        model = build(_mixers_in(process, budget, seed).make, budget, seed=seed).to(device)
        if not meets(model.size, budget.model.parameters):
            told = f"the model has {model.size:,} parameters, not {budget.model.parameters:,}"
            raise Refused("fits", told)
        drawn = {name: weight.clone() for name, weight in model.state_dict().items()}
        with start() as beside:
            # The process that is trained never sees a held-out row.
            fitted = fit(
                model,
                budget,
                seed=seed,
                stops=assignment.stops,
                device=device,
                examined=_built(_mixers_in(beside, budget, seed), budget, seed, device),
                progress=lambda share: enter(f"{where}, {share:.0%}"),
            )
        peak = max(0, peak_bytes(device) - memory) + process.peak_bytes()
    return _Trained(fitted, drawn, model.state_dict(), model.size, peak)


def _examine(
    trained: _Trained, budget: TaskBudget, seed: int, start: Start, assignment: Assignment
) -> tuple[CurvePoint, float, int | None]:
    """Returns the score, the FLOPs per token, and the bytes of the state."""

    def mixers_in(process: Process) -> tuple[Mixers, LanguageModel]:
        mixers = _mixers_in(process, budget, seed)
        model = _built(mixers, budget, seed, assignment.device)
        if not _equal(model.state_dict(), trained.drawn):
            raise Refused("repeatable", "the same dice give other weights in another process")
        model.load_state_dict(trained.weights)
        return mixers, model

    what = task(budget.task)
    held_out = what.held_out(batch=budget.batch, length=budget.length)
    with start() as first, start() as second, start() as third, start() as fourth:
        told = mixers_in(first)
        tapes = played(*told, Player(third), budget, seed)
        said = logits(tapes, told[1], [batch.inputs_BT for batch in held_out])
        flops = tapes.flops_per_token(budget)
        last = score(said, what, held_out, trained.fit.curve[-1].tokens)
        _look_at_same(trained.fit.curve[-1], last, budget)
        # In a process that has played nothing that was scored: it can remember nothing of that.
        again = tapes.again(Player(fourth), budget, seed)
        _look_again(again, said, held_out, budget, assignment.excused)
        decoding = layers(tapes, budget, hash_of(said))
        decoding = decoded(*told, decoding, budget.length // 2)
        decoding = decoded(*mixers_in(second), decoding, budget.length - 1)
        # Only now is the program loaded in the process that has played it.
        decoding = decoded(*mixers_in(third), decoding, budget.length)
    return last, flops, state_bytes(decoding)


def _mixers_in(process: Process, budget: TaskBudget, seed: int) -> Mixers:
    return Mixers(process, budget.model.parameters, mixer_seeds(seed))


def _built(mixers: Mixers, budget: TaskBudget, seed: int, device: str) -> LanguageModel:
    return build(mixers.make, budget, seed=seed).to(device).eval()


def _equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def _look_at_same(trained: CurvePoint, fresh: CurvePoint, budget: TaskBudget) -> None:
    """Raises Refused unless the weights alone give what the trained process gave."""
    if abs(trained.loss - fresh.loss) > SAME_TOLERANCE * max(1.0, trained.loss):
        told = (
            f"trained on {budget.task}, the held-out loss is {trained.loss:.4f}, and with the same "
            f"weights in a new process {fresh.loss:.4f}: something else than weights was learned"
        )
        raise Refused("restorable", told)


@torch.no_grad()
def _look_again(
    again: Played,
    said: list[Tensor],
    held_out: list[Batch],
    budget: TaskBudget,
    excused: Collection[str],
) -> None:
    """Raises Refused for what `recompute` finds of what was scored, in any batch of it.

    And exactly, in float64, of the first batch and of other lengths, whose tapes are of the same
    function: they agree on what a sequence begins with.
    """
    rng = torch.Generator().manual_seed(hash_of(said))

    def drawn(*shape: int) -> Tensor:
        return torch.randint(task(budget.task).vocabulary, shape, generator=rng)

    for number, (batch, said_BTC) in enumerate(zip(held_out, said, strict=True)):
        # Another row's end looks like an end; one that is drawn agrees with it in no place.
        x_BT = batch.inputs_BT
        other_BT = drawn(*x_BT.shape) if number % 2 else x_BT.roll(1, dims=0)
        for fault in of_the_future(again.play, x_BT, other_BT, said_BTC, SCORED_TOLERANCE, rng):
            raise Refused(fault.check, f"trained on {budget.task}, {fault.evidence}")
    again.model.double()

    def play(tokens_BT: Tensor) -> tuple[Tensor, Work]:
        again.model(drawn(*tokens_BT.shape))  # recorded for sequences that are not scored
        return again.play(tokens_BT)

    scored_BT = held_out[0].inputs_BT
    gap = (play(scored_BT)[0] - said[0]).abs().max() / said[0].abs().max().clamp(min=1)
    if not gap <= SCORED_TOLERANCE:
        evidence = f"trained on {budget.task}, float64 gives outputs that differ by {gap:.1e}"
        raise Refused("precision", evidence)
    short, long = (int(torch.randint(size, size + 32, (), generator=rng)) for size in (240, 1000))
    scored_1L = torch.cat([batch.inputs_BT.flatten() for batch in held_out])[None, :long]
    T = budget.length
    given = Inputs(
        x_BT=scored_BT,
        other_BT=drawn(*scored_BT.shape),
        x_1L=scored_1L,
        other_1L=drawn(*scored_1L.shape),
        lengths=(1, T // 3, T // 2, T - 1, T),
        counted=(short, scored_1L.shape[1]),
        rng=rng,
    )
    for fault in faults(play, given, TRAINED_TOLERANCE, excused):
        raise Refused(fault.check, f"trained on {budget.task}, {fault.evidence}")
