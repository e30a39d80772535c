"""One training run of a candidate: the task, the model around the mixers and the score are here.

What is scored is told by a process that was never trained, with the weights that were learned here,
and played in one that has not loaded the program.
"""

import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from move37.lab.costing import Uncounted, decoded, layers, logits, played, state_bytes
from move37.lab.link import hash_of
from move37.lab.remote import Mixers, Player, Refused, Start
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


def measured(
    assignment: Assignment,
    budget: TaskBudget,
    seed: int,
    start: Start,
    enter: Callable[[str], None],
) -> Measurement | CheckResult:
    """Returns the measurement of one run, or the check that failed in it."""
    where = f"train: {budget.task}, seed {seed}"
    enter(where)
    device = assignment.device
    started, memory = time.perf_counter(), reset_peak(device)
    try:
        with start() as process:
            mixers = Mixers(process, budget, mixer_seeds(seed))
            model = build(mixers.make, budget, seed=seed).to(device)
            if not meets(model.size, budget.model.parameters):
                told = f"the model has {model.size:,} parameters, not {budget.model.parameters:,}"
                return CheckResult("fits", "failed", told)
            drawn = _copied(model)
            with start() as beside:
                # The process that is trained never sees a held-out row.
                examined = _built(Mixers(beside, budget, mixer_seeds(seed)), budget, seed, device)
                fitted = fit(
                    model,
                    budget,
                    seed=seed,
                    stops=assignment.stops,
                    device=device,
                    examined=examined,
                    progress=lambda share: enter(f"{where}, {share:.0%}"),
                )
            peak = max(0, peak_bytes(device) - memory) + process.peak_bytes()
        enter(f"verify: {budget.task} with trained weights")
        weights = model.state_dict()
        with start() as process:
            mixers = Mixers(process, budget, mixer_seeds(seed))
            fresh = _built(mixers, budget, seed, device)
            if not _equal(_copied(fresh), drawn):
                told = "the same dice give other weights in another process"
                return CheckResult("repeatable", "failed", told)
            fresh.load_state_dict(weights)
            with start() as third:
                player = Player(third)
                tapes = played(mixers, fresh, player, budget, seed)
                what = task(budget.task)
                held_out = what.held_out(batch=budget.batch, length=budget.length)
                said = logits(tapes, fresh, [batch.inputs_BT for batch in held_out])
                flops = tapes.flops_per_token(budget)
                scored = score(said, what, held_out, fitted.curve[-1].tokens)
                check = _same_as_trained(fitted.curve[-1], scored, budget)
                if check.verdict == "failed":
                    return check
                check = _causal_after_training(tapes.model, said, budget)
                if check.verdict == "failed":
                    return check
                whole, half = layers(tapes, budget, hash_of(said) % 2**31), budget.length // 2
                decoding = decoded(mixers, fresh, whole, half)
                with start() as beside:
                    others = Mixers(beside, budget, mixer_seeds(seed))
                    other = _built(others, budget, seed, device)
                    other.load_state_dict(weights)
                    decoding = decoded(others, other, decoding, budget.length - 1)
                    check = _prefix_after_training(other, held_out, budget, device)
                    if check.verdict == "failed":
                        return check
                # Only now is the program loaded there.
                last = Mixers(third, budget, mixer_seeds(seed))
                final = _built(last, budget, seed, device)
                final.load_state_dict(weights)
                decoding = decoded(last, final, decoding, budget.length)
    except Refused as error:
        return CheckResult(error.check, "failed", error.evidence)
    except Uncounted as error:
        return error.check
    except TooLarge as error:
        return CheckResult("fits", "failed", str(error))
    except Diverged as error:
        return CheckResult("trainable", "failed", f"{budget.task} with seed {seed}: {error}")
    return Fit((*fitted.curve[:-1], scored), fitted.stopped).measurement(
        budget,
        seed=seed,
        seconds=time.perf_counter() - started,
        peak_bytes=peak,
        state_bytes=state_bytes(decoding),
        flops_per_token=flops,
        parameters=model.size,
    )


def _built(mixers: Mixers, budget: TaskBudget, seed: int, device: str) -> LanguageModel:
    return build(mixers.make, budget, seed=seed).to(device).eval()


def _copied(model: LanguageModel) -> dict[str, Tensor]:
    return {name: weight.clone() for name, weight in model.state_dict().items()}


def _equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def _same_as_trained(trained: CurvePoint, fresh: CurvePoint, budget: TaskBudget) -> CheckResult:
    """A process that was never trained says the same with the weights of one that was."""
    if abs(trained.loss - fresh.loss) > SAME_TOLERANCE * max(1.0, trained.loss):
        told = (
            f"trained on {budget.task}, the held-out loss is {trained.loss:.4f}, and with the same "
            f"weights in a new process {fresh.loss:.4f}: something else than weights was learned"
        )
        return CheckResult("restorable", "failed", told)
    return CheckResult("restorable", "passed", f"holds with the weights trained on {budget.task}")


@torch.no_grad()
def _causal_after_training(
    model: LanguageModel, said: list[Tensor], budget: TaskBudget
) -> CheckResult:
    """On every scored batch, as it is scored, a row's end decides nothing of what is said before.

    Of what was scored: the same tapes, at the same shape. What they have heard of another row, or
    of an earlier batch, is forgotten: a tape begins with the same each time.
    """
    what = task(budget.task)
    held_out = what.held_out(batch=budget.batch, length=budget.length)
    # From what another process said: nobody knows the cuts before all is said.
    rng = torch.Generator().manual_seed(hash_of(said))
    for number, (batch, said_BTC) in enumerate(zip(held_out, said, strict=True)):
        B, T = batch.inputs_BT.shape
        cut_B1 = 1 + torch.randint(T - 1, (B, 1), generator=rng)  # each row has its own
        past_BT = torch.arange(T)[None] < cut_B1
        # Another row's end looks like an end; one that is drawn agrees with it in no place.
        drawn_BT = torch.randint(what.vocabulary, (B, T), generator=rng)
        other_BT = drawn_BT if number % 2 else batch.inputs_BT.roll(1, dims=0)
        changed_BT = torch.where(past_BT, batch.inputs_BT, other_BT)
        again_BTC = model(changed_BT)
        gap_BTC = (said_BTC - again_BTC).abs() / said_BTC.abs().amax().clamp(min=1)
        gap = gap_BTC.masked_fill(~past_BT[..., None], 0).max().item()
        if not gap <= SCORED_TOLERANCE:
            told = f"trained on {budget.task}, an output moves by {gap:.1e} with what follows"
            return CheckResult("causality", "failed", told)
    return CheckResult("causality", "passed", f"holds with the weights trained on {budget.task}")


@torch.no_grad()
def _prefix_after_training(
    model: LanguageModel, held_out: list[Batch], budget: TaskBudget, device: str
) -> CheckResult:
    """The trained model says the same of a scored sequence when its end is not there yet.

    Exactly, so that it is in float64 from then on.
    """
    exact, tokens_BT = model.double(), held_out[0].inputs_BT[:8].to(device)
    whole_BTC = exact(tokens_BT)
    scale = max(1.0, whole_BTC.abs().max().item())
    for t in (1, budget.length // 3, budget.length // 2, budget.length - 1):
        gap = (exact(tokens_BT[:, :t]) - whole_BTC[:, :t]).abs().max().item() / scale
        if not gap <= TRAINED_TOLERANCE:
            told = (
                f"trained on {budget.task}, the first {t} outputs move by {gap:.1e} "
                "when the sequence ends there"
            )
            return CheckResult("prefix", "failed", told)
    return CheckResult("prefix", "passed", f"holds with the weights trained on {budget.task}")
