"""Trains one language model on one task within one budget; every mixer alike.

AdamW, cosine learning rate after a short warm-up, gradients clipped to norm 1. Budgets are
tokens, never seconds: what a machine's load decides cannot decide a search.
"""

import contextlib
import itertools
import math
import resource
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from move37.nn.counting import flops_per_token, state_bytes
from move37.nn.language_model import Block, LanguageModel, MixerFactory
from move37.records import CurvePoint, Measurement, Stop, TaskBudget
from move37.tasks import Task, task
from move37.tasks.task import UNSCORED, Batch

CURVE_POINTS = 6
WARM_UP = 0.1  # share of the steps
LAST_RATE = 0.1  # share of the learning rate that is left at the end


class Diverged(ArithmeticError):
    """The loss is no number any more."""


class Fit(NamedTuple):
    """How a model learned."""

    curve: tuple[CurvePoint, ...]
    stopped: bool  # ended early, clearly behind the baselines

    def measurement(
        self,
        budget: TaskBudget,
        *,
        seed: int,
        seconds: float,
        peak_bytes: int,
        state_bytes: int | None,
        flops_per_token: float,
        parameters: int,
    ) -> Measurement:
        """Returns it as a number with all that belongs to it."""
        last = self.curve[-1]
        return Measurement(
            task=budget.task,
            seed=seed,
            metric=task(budget.task).metric,
            value=last.value,
            tokens=last.tokens,
            stopped=self.stopped,
            seconds=seconds,
            peak_bytes=peak_bytes,
            state_bytes=state_bytes,
            flops_per_token=flops_per_token,
            parameters=parameters,
            curve=self.curve,
        )


def build(make: MixerFactory, budget: TaskBudget, *, seed: int) -> LanguageModel:
    """Returns an untrained model; the same seed gives the same weights.

    Each mixer is drawn from dice of its own, so that the rest is the same around every mixer.
    """
    seeds = mixer_seeds(seed)

    def drawn(width: int, heads: int) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(next(seeds))
            return make(width, heads)

    torch.manual_seed(seed)
    return LanguageModel(
        drawn,
        vocabulary=task(budget.task).vocabulary,
        width=budget.model.width,
        heads=budget.model.heads,
        layers=budget.model.layers,
        parameters=budget.model.parameters,
    )


def mixer_seeds(seed: int) -> Iterator[int]:
    """Yields what the mixers of a model are drawn from, layer by layer."""
    return itertools.count(1_000_003 * (seed + 1))


def train(
    make: MixerFactory,
    budget: TaskBudget,
    *,
    seed: int,
    stops: Sequence[Stop] = (),
    device: str = "cpu",
    progress: Callable[[float], None] = lambda share: None,
) -> tuple[Measurement, LanguageModel]:
    """Returns the measurement and the trained model, all in this process.

    For mixers that are trusted; `move37.lab.measuring` does the same for those that are not.
    Raises Diverged when the loss becomes NaN or infinite.
    """
    started, memory = time.perf_counter(), reset_peak(device)
    model = build(make, budget, seed=seed).to(device)
    mixers = [block.mixer for block in model.blocks if isinstance(block, Block)]
    size = {"width": budget.model.width, "tokens": budget.length}
    flops = flops_per_token(model, example(budget, device))
    states = total([state_bytes(mixer, **size) for mixer in mixers])
    fitted = fit(model, budget, seed=seed, stops=stops, device=device, progress=progress)
    measurement = fitted.measurement(
        budget,
        seed=seed,
        seconds=time.perf_counter() - started,
        peak_bytes=max(0, peak_bytes(device) - memory),
        state_bytes=states,
        flops_per_token=flops,
        parameters=model.size,
    )
    return measurement, model


def example(budget: TaskBudget, device: str) -> Tensor:
    """Returns the tokens (B, T) of one batch, to count the work that it is."""
    return torch.zeros(budget.batch, budget.length, dtype=torch.long, device=device)


def total(states: Sequence[int | None]) -> int | None:
    """Returns the bytes of all layers' states; None if one does not offer decoding."""
    known = [size for size in states if size is not None]
    return sum(known) if len(known) == len(states) else None


def fit(
    model: LanguageModel,
    budget: TaskBudget,
    *,
    seed: int,
    stops: Sequence[Stop] = (),
    device: str = "cpu",
    examined: LanguageModel | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> Fit:
    """Trains the model in place, and returns how it learned.

    With `examined`, that model is given the weights and scored, so that this one never is.
    Raises Diverged when the loss becomes NaN or infinite.
    """
    what = task(budget.task)
    held_out = what.held_out(batch=budget.batch, length=budget.length)
    batches = what.train(seed=seed, batch=budget.batch, length=budget.length)
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=budget.learning_rate,
        betas=(0.9, 0.95),
        weight_decay=0.01,
        fused=True,
    )
    step_tokens = budget.batch * budget.length
    steps = max(1, budget.tokens // step_tokens)
    due = {round(steps * (i + 1) / CURVE_POINTS) for i in range(CURVE_POINTS)}
    curve: list[CurvePoint] = []
    model.train()
    for step in range(1, steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = budget.learning_rate * _rate(step / steps)
        batch = next(batches)
        loss = _loss(model, batch, device)
        if not torch.isfinite(loss):
            raise Diverged(f"the loss was {loss.item()} at step {step} of {steps}")
        optimizer.zero_grad()
        sum(model.auxiliary_losses(), start=loss).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step in due:
            if examined is not None:
                examined.load_state_dict(model.state_dict())
            scored = model if examined is None else examined
            point = evaluate(scored, what, held_out, tokens=step * step_tokens, device=device)
            curve.append(point)
            progress(step / steps)
            if step < steps and _behind(point, budget.task, stops):
                return Fit(tuple(curve), stopped=True)
    return Fit(tuple(curve), stopped=False)


@torch.no_grad()
def evaluate(
    model: LanguageModel, what: Task, held_out: Sequence[Batch], *, tokens: int, device: str
) -> CurvePoint:
    """Returns the held-out loss and value; raises Diverged if the loss is no number."""
    model.eval()
    point = score((model(batch.inputs_BT.to(device)) for batch in held_out), what, held_out, tokens)
    model.train()
    return point


def score(
    logits: Iterable[Tensor], what: Task, held_out: Sequence[Batch], tokens: int
) -> CurvePoint:
    """Returns the loss and value of logits (B, T, C) for each batch; raises Diverged as above."""
    loss, right, scored = 0.0, 0, 0
    for logits_BTC, batch in zip(logits, held_out, strict=True):
        targets_BT = batch.targets_BT.to(logits_BTC.device)
        used = targets_BT != UNSCORED
        loss += F.cross_entropy(logits_BTC[used], targets_BT[used], reduction="sum").item()
        right += int((logits_BTC.argmax(dim=-1) == targets_BT)[used].sum())
        scored += int(used.sum())
    if not math.isfinite(loss):
        raise Diverged(f"the held-out loss was {loss} after {tokens} tokens")
    return CurvePoint(tokens, loss / scored, what.value(loss / scored, right / scored))


def _loss(model: LanguageModel, batch: Batch, device: str) -> Tensor:
    logits_BTC = model(batch.inputs_BT.to(device))
    targets_BT = batch.targets_BT.to(device)
    return F.cross_entropy(logits_BTC.flatten(0, 1), targets_BT.flatten(), ignore_index=UNSCORED)


def _rate(share: float) -> float:
    if share < WARM_UP:
        return share / WARM_UP
    cosine = 0.5 * (1 + math.cos(math.pi * (share - WARM_UP) / (1 - WARM_UP)))
    return LAST_RATE + (1 - LAST_RATE) * cosine


def _behind(point: CurvePoint, task_name: str, stops: Sequence[Stop]) -> bool:
    return any(
        stop.task == task_name and stop.tokens == point.tokens and point.loss > stop.worst_loss
        for stop in stops
    )


def reset_peak(device: str) -> int:
    """Starts the measurement of the memory peak anew; returns the bytes that are held now."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    with contextlib.suppress(OSError):  # not everywhere; the peak is then that of the process
        Path("/proc/self/clear_refs").write_text("5")
    return _status_bytes("VmRSS")


def peak_bytes(device: str) -> int:
    """Returns the most memory that this process has held since the peak was reset."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated()
    return _status_bytes("VmHWM")


def _status_bytes(name: str) -> int:
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
