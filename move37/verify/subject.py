"""What a check is given, and what the checks share.

Shape letters: B batch, T time, D model width, R rows.
"""

import inspect
import traceback
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from move37.nn.language_model import MixerFactory
from move37.nn.memory import filled_memory, may_be_unset
from move37.records import CheckResult, Level

# Far above float64 rounding (a chunked recurrence leaves 1e-13), far below any useful leak.
TOLERANCE = 1e-9
FILE = "candidate.py"  # what tracebacks call the program's file (see lab.loading)


@dataclass(frozen=True)
class Subject:
    """A mixer under verification: how to build it, at which size, and how thoroughly."""

    make: MixerFactory
    width: int
    heads: int
    level: Level = "quick"
    # The same with an option of its constructor changed, by what was changed: "gate=False".
    variants: Mapping[str, MixerFactory] = field(default_factory=dict)
    seed: int = 0  # of all dice; no verdict may depend on it

    def build(self, seed: int = 0) -> nn.Module:
        """Returns a mixer at its own initialisation.

        What that leaves to chance is drawn: `builds` says so, and no other check has to.
        """
        set_dice(self._seed(seed))
        with filled_memory():
            mixer = self.make(self.width, self.heads)
        for value in (*mixer.parameters(), *mixer.buffers()) if _is_module(mixer) else ():
            if value.is_floating_point() and not value.is_meta and may_be_unset(value):
                value.data.normal_(generator=self.dice(seed))
        return mixer

    def dice(self, number: int = 0) -> torch.Generator:
        """Returns a generator of its own for each number."""
        return torch.Generator().manual_seed(self._seed(number))

    def _seed(self, number: int) -> int:
        return number + 10_000 * self.seed

    @property
    def thorough(self) -> bool:
        """Says whether time may be spent: long sequences, many calls, optimiser steps."""
        return self.level == "full"

    @property
    def draws(self) -> int:
        """How many random mixers and inputs a check tries."""
        return 2 if self.thorough else 1

    def random(self, draw: int, length: int) -> tuple[nn.Module, Tensor]:
        """Returns a float64 mixer with redrawn parameters, in eval mode, and an input (1, T, D).

        Redrawn, so that a leak behind a gate that starts at zero shows. Where wide parameters
        overflow (an honest mixer may take their exponential), narrower ones are drawn.
        """
        rng = self.dice(1000 + draw)
        x_1TD = torch.randn(1, length, self.width, generator=rng, dtype=torch.float64)
        for std in (0.5, 0.2, 0.05):
            mixer = self.build(draw).double().eval()
            with torch.no_grad():
                for parameter in _numbers(mixer):
                    parameter.normal_(std=std, generator=rng)
                if run(mixer, x_1TD).isfinite().all():
                    return mixer, x_1TD
        return self.near_its_own(draw), x_1TD

    @torch.no_grad()
    def near_its_own(self, draw: int) -> nn.Module:
        """Returns a float64 mixer near its own initialisation, with every zero moved, in eval mode.

        What is redrawn at random may miss a branch that the own parameters take.
        """
        rng = self.dice(3000 + draw)
        mixer = self.build(draw).double().eval()
        for parameter in _numbers(mixer):
            noise = torch.randn(parameter.shape, generator=rng, dtype=torch.float64)
            parameter.copy_(parameter * (1 + 0.1 * noise) + 0.05 * noise * (parameter == 0))
        return mixer

    def inputs(self, draw: int, rows: int, length: int) -> Tensor:
        """Returns float64 inputs (R, T, D) of four kinds in turn, for mixers that branch by them.

        Normal, positive, large, and mostly zero.
        """
        found = self.kinds(draw, rows, length)
        kinds = torch.stack([found[name] for name in ("normal", "positive", "large", "sparse")])
        places = torch.arange(rows)
        return kinds[(places + draw) % len(kinds), places]

    def kinds(self, draw: int, rows: int, length: int) -> dict[str, Tensor]:
        """Returns float64 inputs (R, T, D) by kind, for mixers that branch by whole batches."""
        rng = self.dice(2000 + draw)
        x_RTD = torch.randn(rows, length, self.width, generator=rng, dtype=torch.float64)
        kept_RTD = torch.rand(x_RTD.shape, generator=rng) < 0.2
        return {
            "normal": x_RTD,
            "positive": x_RTD.abs(),
            "negative": -x_RTD.abs(),
            "large": 4 * x_RTD,
            "small": x_RTD / 100,
            "sparse": x_RTD * kept_RTD,
            "constant": x_RTD[:, :1].expand_as(x_RTD),
        }


def _is_module(mixer: object) -> bool:
    return isinstance(mixer, nn.Module)  # `interface` says what is none


def _numbers(mixer: nn.Module) -> Iterator[nn.Parameter]:
    """Yields the parameters that can be drawn: an order of channels, say, is whole numbers."""
    return (one for one in mixer.parameters() if one.is_floating_point() or one.is_complex())


def set_dice(number: int) -> None:
    """Sets PyTorch's dice; `torch.manual_seed` formats a stack for each kind of device too."""
    torch.default_generator.manual_seed(number)


def draws(mixer: nn.Module, x_BTD: Tensor) -> bool:
    """Says whether the output depends on the dice."""
    same_BTD = run(mixer, x_BTD)
    set_dice(1)
    return not moved(mixer(x_BTD.clone()), same_BTD) <= TOLERANCE


def run(mixer: nn.Module, x_BTD: Tensor, documents_BT: Tensor | None = None) -> Tensor:
    """Returns the mixer's output, with the same dice at every call (dropout).

    The mixer is given a copy: whether it changes its input is for `repeatable` to say.
    """
    set_dice(0)
    given_BTD = x_BTD.clone()
    dtype, gradients = torch.get_default_dtype(), torch.is_grad_enabled()
    try:
        result: Tensor = (
            mixer(given_BTD) if documents_BT is None else mixer(given_BTD, documents_BT)
        )
    finally:  # a mixer that changes these is told so by `repeatable`, and by no other check
        torch.set_default_dtype(dtype)
        torch.set_grad_enabled(gradients)
    return result


def moved(a: Tensor, b: Tensor) -> float:
    """Returns the largest difference, relative to the size of the outputs; NaN stays NaN."""
    if a.numel() == 0:
        return 0.0
    scale = max(1.0, b.abs().max().item())
    return ((a - b).abs().max() / scale).item()


def offers_documents(mixer: nn.Module) -> bool:
    """Says whether the mixer's forward takes the numbers of the documents."""
    return "documents_BT" in inspect.signature(mixer.forward).parameters


def offers_mask(mixer: nn.Module) -> bool:
    """Says whether the mixer's forward takes a mask: true for a token, false for padding."""
    return "mask_BT" in inspect.signature(mixer.forward).parameters


def offers_decoding(mixer: Any) -> bool:
    """Says whether the mixer has `initial_state` and `step`."""
    return hasattr(mixer, "initial_state") and hasattr(mixer, "step")


def in_short(error: BaseException) -> str:
    """Returns the error in one line, cut where it is long, and the program's line if one raised."""
    told = f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(": ")
    told = told if len(told) <= 200 else f"{told[:197]}..."
    line = line_in(traceback.extract_tb(error.__traceback__))
    return f"{told} at {line}" if line else told


def line_in(stack: Iterable[traceback.FrameSummary]) -> str:
    """Returns the innermost line of the program in a stack, outermost first; "" if there is none.

    As "line 12: y = f(x)".
    """
    own = [frame for frame in stack if frame.filename == FILE]
    return f"line {own[-1].lineno}: {(own[-1].line or '').strip()[:80]}" if own else ""


def passed(check: str, evidence: str) -> CheckResult:
    return CheckResult(check, "passed", evidence)


def failed(check: str, evidence: str) -> CheckResult:
    return CheckResult(check, "failed", evidence)


def not_offered(check: str, what: str) -> CheckResult:
    return CheckResult(check, "not offered", f"the mixer has no {what}")
