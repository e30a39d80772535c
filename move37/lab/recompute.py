"""Recomputes verdicts outside of the process that holds the program.

That process says, for inputs of several shapes, which operators it runs (a tape, see `tape`). A
process that never loads the program plays the tapes on inputs that the program has not seen. What
is asked and counted is decided here: no program can forge it.

Covered: independence, causality, prefix, and the growth of work and memory, of the forward pass in
eval mode, in float64 with redrawn weights; in a run once more of the tapes that are scored, with
trained weights (see `scoring`).
Not covered: train mode, gradients, and what the backward pass costs; all other checks.

Shape letters: B batch, T time, L a longer time, D model width.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from move37.lab.remote import Failed, Mixers, PlayedMixer, Player, Refused, Start, not_played
from move37.lab.words import RECOMPUTED
from move37.nn.counting import Work
from move37.records import CheckResult, Level
from move37.verify.complexity import first_grown
from move37.verify.subject import TOLERANCE, Subject

ROWS = 6
MOST_PARAMETERS = 1 << 30  # of a mixer whose model has no limit
# What is played against what the program gives: the same operators, in another process.
SAME_TOLERANCE = 1e-9


# Returns the output (B, T, ...) for an input (B, T, ...), and the work that it took.
Play = Callable[[Tensor], tuple[Tensor, Work]]


class Fault(NamedTuple):
    """A check that fails outside of the program's process, and the evidence."""

    check: str
    evidence: str


class Inputs(NamedTuple):
    """What a play is asked for: rows, other rows of the same shape, and two long sequences."""

    x_BT: Tensor
    other_BT: Tensor
    x_1L: Tensor
    other_1L: Tensor
    lengths: Sequence[int]  # of the long sequence's beginnings, shortest first
    counted: Sequence[int]  # lengths at which work is counted, shortest first
    rng: torch.Generator


def faults(
    play: Play, given: Inputs, tolerance: float, excused: Collection[str] = ()
) -> Iterator[Fault]:
    """Yields what fails; differences are relative to the largest output, or to 1 if that is less.

    Work is not counted for checks that are `excused`.
    """
    y_BT, _ = play(given.x_BT)
    yield from _of_rows(play, given, y_BT, tolerance)
    yield from of_the_future(play, given.x_BT, given.other_BT, y_BT, tolerance, given.rng)
    y_1L, long_work = play(given.x_1L)
    yield from of_the_future(play, given.x_1L, given.other_1L, y_1L, tolerance, given.rng)
    for t in given.lengths:
        gap = _gap(play(given.x_1L[:, :t])[0], y_1L[:, :t], y_1L)
        if not gap <= tolerance:
            yield Fault("prefix", f"the first {t} outputs move by {gap:.1e} with the length")
            break
    works = {given.x_1L.shape[1]: long_work}

    def count(length: int) -> Work:
        if length not in works:
            times = -(-length // given.x_1L.shape[1])
            repeated = given.x_1L.repeat(1, times, *[1] * (given.x_1L.ndim - 2))
            works[length] = play(repeated[:, :length])[1]
        return works[length]

    counts = {"sub-quadratic": ("flops", "elements", "calls"), "memory": ("allocated",)}
    for check in [name for name in counts if name not in excused]:
        counted = [(length, count(length)) for length in given.counted]
        if grown := first_grown(counted, counts[check], count):
            yield Fault(check, grown.told)


def _of_rows(play: Play, given: Inputs, y_BT: Tensor, tolerance: float) -> Iterator[Fault]:
    kept_BT = given.x_BT.clone()
    kept_BT[1:-1] = given.other_BT[1:-1]  # the first row and the last stay
    gap = _gap(play(kept_BT)[0][:: len(y_BT) - 1], y_BT[:: len(y_BT) - 1], y_BT)
    alone = _gap(play(given.x_BT[:1])[0], y_BT[:1], y_BT)
    if not (gap <= tolerance and alone <= tolerance):
        others = f"moves by {gap:.1e} when the others change, and by {alone:.1e} alone"
        yield Fault("independence", f"a row {others}")


def of_the_future(
    play: Play,
    x_BT: Tensor,
    other_BT: Tensor,
    y_BT: Tensor,
    tolerance: float,
    rng: torch.Generator,
) -> Iterator[Fault]:
    """Redraws each row from a cut on that nobody could know; what comes before has to stay."""
    B, T = x_BT.shape[:2]
    cut_B1 = 1 + torch.randint(T - 1, (B, 1), generator=rng)
    past_BT = torch.arange(T)[None] < cut_B1
    again_BT, _ = play(torch.where(_like(past_BT, x_BT), x_BT, other_BT))
    gap = _gap(again_BT.where(_like(past_BT, again_BT), y_BT), y_BT, y_BT)
    if not gap <= tolerance:
        yield Fault("causality", f"an output moves by {gap:.1e} with what follows it")


def _like(mask_BT: Tensor, like: Tensor) -> Tensor:
    return mask_BT.reshape(*mask_BT.shape, *[1] * (like.ndim - 2))


def _gap(y: Tensor, expected: Tensor, scale: Tensor) -> float:
    """Returns the largest difference, relative to the size of `scale`; NaN stays NaN."""
    return ((y - expected).abs().max() / scale.abs().max().clamp(min=1)).item()


class Verdicts(NamedTuple):
    """What was found outside of the program's process, to be joined with what was said inside."""

    found: Sequence[Fault]
    reason: str = ""  # why nothing could be recomputed, or ""

    def join(self, inside: CheckResult) -> CheckResult:
        """Returns the verdict of a check: outside it has to pass as well."""
        if inside.check not in RECOMPUTED or inside.verdict != "passed":
            return inside
        if self.reason:
            evidence = f"passed in the program's own process, and not outside of it: {self.reason}"
            return replace(inside, verdict="not run", evidence=evidence)
        for fault in self.found:
            if fault.check == inside.check:
                evidence = f"recomputed outside of the program's process: {fault.evidence}"
                return replace(inside, verdict="failed", evidence=evidence, recomputed=True)
        return replace(inside, recomputed=True)


@torch.no_grad()
def recompute(
    start: Start,
    *,
    width: int,
    heads: int,
    level: Level,
    seed: int,
    excused: Collection[str] = (),
) -> Verdicts:
    """Returns what a mixer with redrawn weights shows outside of the program's process.

    `seed` draws inputs, lengths and weights.
    """
    rng = torch.Generator().manual_seed(seed)
    try:
        with start() as holding, start() as playing:
            mixers = Mixers(holding, MOST_PARAMETERS, iter([seed]))
            mixer = mixers.make(width, heads)
            mixer.double().eval()
            own = [weight.clone() for weight in mixer.parameters()]
            given = _inputs(width, level, seed, rng)
            for std in (0.5, 0.2, 0.05, 0.0):
                # An honest mixer may take the exponential of its weights: narrower ones then.
                for weight, drawn in zip(mixer.parameters(), own, strict=True):
                    if weight.is_floating_point():  # an order of channels, say, is whole numbers
                        noise = torch.randn(weight.shape, generator=rng)
                        weight.copy_(noise * std if std else drawn)
                played = PlayedMixer(mixers, mixer, Player(playing), {})
                played.record(_another(given.x_BT, rng))
                if played(given.x_BT).isfinite().all():
                    break

            def play(x_BTD: Tensor) -> tuple[Tensor, Work]:
                played.record(_another(x_BTD, rng))
                return played(x_BTD), played.work

            for x_BTD in (given.x_BT, given.x_1L):  # does the program do what its tapes do?
                y_BTD, _ = play(x_BTD)
                gap = _gap(mixer(x_BTD), y_BTD, y_BTD)
                if not gap <= SAME_TOLERANCE:
                    raise not_played(f"outputs that differ by {gap:.1e}")
            return Verdicts([*faults(play, given, TOLERANCE, excused)])
    except Refused as error:
        return Verdicts((), error.evidence)
    except Failed as error:
        return Verdicts((), str(error).splitlines()[0])


def _another(x_BTD: Tensor, rng: torch.Generator) -> Tensor:
    """Returns an input of the same shape, for the program to see."""
    return torch.randn(x_BTD.shape, generator=rng, dtype=x_BTD.dtype)


def _inputs(width: int, level: Level, seed: int, rng: torch.Generator) -> Inputs:
    def drawn(low: int, high: int) -> int:
        return int(torch.randint(low, high, (), generator=rng))

    subject = Subject(nn.Identity, width, 1, level, seed=seed)  # draws inputs of several kinds
    length, short, long = drawn(40, 100), drawn(240, 272), drawn(1000, 1048)
    counted = (short, long, drawn(4000, 4200)) if level == "full" else (short, long)
    return Inputs(
        x_BT=subject.inputs(0, ROWS, length),
        other_BT=subject.inputs(1, ROWS, length),
        x_1L=subject.inputs(2, 1, long),
        other_1L=subject.inputs(3, 1, long),
        lengths=(1, drawn(2, 16), drawn(16, 64), drawn(64, 128), short),
        counted=counted,
        rng=rng,
    )
