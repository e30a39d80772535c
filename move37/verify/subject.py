"""What a check is given, and what the checks share.

Shape letters: B batch, T time, D model width, R rows.
"""

import functools
import hashlib
import inspect
import os
import traceback
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from move37.nn.language_model import MixerFactory
from move37.nn.memory import filled_memory, may_be_unset
from move37.records import CheckResult, Level

# Far above float64 rounding (a chunked recurrence leaves 1e-13), far below any useful leak.
TOLERANCE = 1e-9
FILE = "candidate.py"  # what tracebacks call the program's file (see lab.loading)
EPSILON = 1e-5  # of the norm before a mixer (see nn.language_model)
# In PyTorch's message to what changes its input in place, as `repeatable` says.
CHANGES_A_LEAF = "leaf Variable that requires grad"
# Two states of PyTorch's generator lie this many numbers apart: more than a small mixer draws.
BLOCK = 50_000
# Of itself: how far some steps of training leave a parameter from where it began.
TRAINED_SHARE = 0.02
# Lengths at which the presets train: what a program does there only is what it is paid for.
TRAINED_LENGTHS = (24, 64)


@dataclass(frozen=True)
class Subject:
    """A mixer under verification: how to build it, at which size, and how thoroughly."""

    make: MixerFactory
    width: int
    heads: int
    level: Level = "quick"
    # The same with an option of its constructor changed, by what was changed: "gate=False".
    variants: Mapping[str, MixerFactory] = field(default_factory=dict)
    seed: int = 0  # of all that is drawn: inputs, lengths, parameters; no verdict may depend on it

    def build(self, seed: int = 0, dtype: torch.dtype = torch.float32) -> nn.Module:
        """Returns a mixer at its own initialisation, its numbers in that type.

        No method of the mixer's is called for that: one could note that it is examined. What the
        initialisation leaves to chance is drawn: `builds` says so, and no other check has to.
        """
        _Session.seed = self._session_seed()
        set_dice(seed)
        with filled_memory():
            mixer = self.make(self.width, self.heads)
        for value in (*mixer.parameters(), *mixer.buffers()) if _is_module(mixer) else ():
            if value.is_floating_point() and not value.is_meta and may_be_unset(value):
                value.data.normal_(generator=self.dice(seed))
        if dtype != torch.float32 and _is_module(mixer):
            convert(mixer, dtype)
        return mixer

    def dice(self, number: int = 0) -> torch.Generator:
        """Returns a generator of its own for each number."""
        return torch.Generator().manual_seed(self._seed(number))

    def _seed(self, *parts: object) -> int:
        """Returns a number below 2^63 that a program can hardly know, of the seed and the parts."""
        text = repr((self.seed, *parts)).encode()
        return int.from_bytes(hashlib.sha256(text).digest()[:8]) >> 1

    def _session_seed(self) -> int:
        """Returns what `torch.initial_seed()` is: as small as a user's, or as long as a clock's."""
        return self._seed("session") >> self._seed("bits") % 56

    @property
    def thorough(self) -> bool:
        """Says whether time may be spent: long sequences, many calls, optimiser steps."""
        return self.level == "full"

    @property
    def draws(self) -> int:
        """How many random mixers and inputs a check tries."""
        return 2 if self.thorough else 1

    def random(
        self, draw: int, length: int, dtype: torch.dtype = torch.float64
    ) -> tuple[nn.Module, Tensor]:
        """Returns a mixer with redrawn parameters, in eval mode, and tokens (1, T, D).

        Redrawn, so that a leak behind a gate that starts at zero shows. Where wide parameters
        overflow (an honest mixer may take their exponential), narrower ones are drawn.
        """
        x_1TD = self.tokens(draw, 1, length).to(dtype)
        for std in (0.5, 0.2, 0.05):
            rng = self.dice(1000 + draw)
            mixer = self.build(draw, dtype).eval()
            with torch.no_grad():
                for parameter in _numbers(mixer):
                    drawn = torch.randn(parameter.shape, generator=rng, dtype=_wide(parameter))
                    parameter.copy_(std * drawn)
                if run(mixer, x_1TD).isfinite().all():
                    return mixer, x_1TD
        return self.near_its_own(draw, dtype=dtype), x_1TD

    @torch.no_grad()
    def near_its_own(
        self, draw: int, share: float = 0.1, dtype: torch.dtype = torch.float64
    ) -> nn.Module:
        """Returns a mixer near its own initialisation, with every number moved, in eval mode.

        By some `share` of itself: a tenth, or less, as a few steps of training leave it. What is
        redrawn at random may miss a branch that the own parameters take.
        """
        rng = self.dice(3000 + draw)
        mixer = self.build(draw, dtype).eval()
        for parameter in _numbers(mixer):
            noise = torch.randn(parameter.shape, generator=rng, dtype=_wide(parameter))
            parameter.copy_(parameter * (1 + share * noise) + share / 2 * noise * (parameter == 0))
        return mixer

    def tokens(self, draw: int, rows: int, length: int) -> Tensor:
        """Returns float64 inputs (R, T, D) as a model gives them: behind its norm."""
        rng = self.dice(2500 + draw)
        return normed(torch.randn(rows, length, self.width, generator=rng, dtype=torch.float64))

    def inputs(self, draw: int, rows: int, length: int) -> Tensor:
        """Returns float64 inputs (R, T, D) of four kinds in turn, for mixers that branch by them.

        Behind a norm, positive, large, and mostly zero.
        """
        found = self.kinds(draw, rows, length)
        kinds = torch.stack([found[name] for name in ("normed", "positive", "large", "sparse")])
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
            # What stands behind a model's norm, when it is new and when its weight has moved.
            "normed": normed(x_RTD),
            "normed and weighted": normed(x_RTD) * (1 + 0.2 * x_RTD[:1, :1]),
        }

    def whole_number(self, low: int, high: int, *parts: object) -> int:
        """Returns a whole number in low..high - 1 that belongs to the parts."""
        return low + self._seed("whole number", *parts) % (high - low)

    def shuffled(self, options: Iterable[Any], *parts: object) -> list[Any]:
        """Returns the options in an order that belongs to the parts."""
        found = list(options)
        order = torch.randperm(len(found), generator=self.dice(self._seed(*parts)))
        return [found[i] for i in order.tolist()]


class Call(NamedTuple):
    """What a program can know of how it is called, beside the numbers and their shape."""

    train: bool = False
    # Whether gradients are recorded, and what of the input then: nothing, a leaf, or a result.
    gradients: Literal["none", "parameters", "leaf", "graph"] = "none"
    autocast: bool = False

    def __str__(self) -> str:
        inputs = {"none": "", "parameters": ", gradients recorded"}.get(
            self.gradients, ", its input with a gradient"
        )
        autocast = ", autocast on" if self.autocast else ""
        return f"{'train' if self.train else 'eval'} mode{inputs}{autocast}"

    def give(self, x_BTD: Tensor) -> Tensor:
        """Returns a copy of the input, where gradients are wanted of it with them.

        The result of a norm where it is that already: it changes by less than 1e-5 of itself.
        """
        given_BTD = x_BTD.detach().clone()
        if self.gradients in ("leaf", "graph"):
            given_BTD.requires_grad_()
        if self.gradients == "graph":
            size = given_BTD.detach().square().mean(-1)
            unit = bool(((size - 1).abs() < 10 * EPSILON).all())
            return normed(given_BTD) if unit else given_BTD * 1
        return given_BTD

    def run(self, mixer: nn.Module, x_BTD: Tensor) -> Tensor:
        """Returns the output of a mixer that is called so, without its graph.

        One that changes its input is given no leaf, where PyTorch forbids that.
        """
        try:
            return self._run(mixer, x_BTD)
        except RuntimeError as error:
            if self.gradients != "leaf" or CHANGES_A_LEAF not in str(error):
                raise
            return self._replace(gradients="graph")._run(mixer, x_BTD)

    def _run(self, mixer: nn.Module, x_BTD: Tensor) -> Tensor:
        mixer.train(self.train)
        with torch.set_grad_enabled(self.gradients != "none"):
            given_BTD = self.give(x_BTD)
            # Float64 stays float64 under autocast, so that a proof there is as sharp as elsewhere.
            with torch.autocast("cpu", torch.bfloat16, enabled=self.autocast):
                return run(mixer, given_BTD, copied=True).detach()


def normed(x: Tensor) -> Tensor:
    """Returns the input as a model's norm leaves it: each token of unit mean square."""
    return F.rms_norm(x, x.shape[-1:], x.new_ones(x.shape[-1]), EPSILON)


@torch.no_grad()
def convert(mixer: nn.Module, dtype: torch.dtype) -> None:
    """Changes the type of all real numbers that a mixer holds, without a method of the mixer.

    `Module.double()` would call its `_apply`, where a program may note that it is examined.
    """

    def other(value: Any) -> bool:
        return isinstance(value, Tensor) and value.is_floating_point() and value.dtype != dtype

    def converted(value: Any) -> Any:
        return value.to(dtype) if other(value) and not isinstance(value, nn.Parameter) else value

    for module in nn.Module.modules(mixer):
        for parameter in module._parameters.values():
            if parameter is not None and other(parameter):
                parameter.data = parameter.data.to(dtype)
        for name, buffer in module._buffers.items():
            module._buffers[name] = converted(buffer)
        for name, value in vars(module).items():
            if name not in _OF_MODULES and any(map(other, tree_leaves(value))):
                vars(module)[name] = tree_map(converted, value)


_OF_MODULES = frozenset(vars(nn.Module()))  # parameters, buffers, children, hooks


def _is_module(mixer: object) -> bool:
    return isinstance(mixer, nn.Module)  # `interface` says what is none


def _numbers(mixer: nn.Module) -> Iterator[nn.Parameter]:
    """Yields the parameters that can be drawn: an order of channels, say, is whole numbers."""
    found = nn.Module.parameters(mixer)  # not a method of the mixer, which could note the call
    return (one for one in found if one.is_floating_point() or one.is_complex())


def _wide(parameter: Tensor) -> torch.dtype:
    """Returns the type in which numbers are drawn: the same ones in whatever type they are used."""
    return torch.complex128 if parameter.is_complex() else torch.float64


class _Session:
    """The seed that PyTorch's generator has while a subject is examined: one, as in training."""

    seed = 0


def set_dice(number: int) -> None:
    """Sets PyTorch's generator to the state of this number, of those that the subject has.

    Of all of them `torch.initial_seed()` is the same, so that it tells a program nothing.
    """
    torch.default_generator.set_state(_state(_Session.seed, number))


@functools.lru_cache(maxsize=256)
def _state(seed: int, number: int) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    torch.rand(1 + number * BLOCK, generator=rng)
    return rng.get_state()


def draws(mixer: nn.Module, x_BTD: Tensor) -> bool:
    """Says whether the output depends on the dice."""
    same_BTD = run(mixer, x_BTD)
    set_dice(1)
    return not moved(mixer(x_BTD.clone()), same_BTD) <= TOLERANCE


def run(
    mixer: nn.Module,
    x_BTD: Tensor,
    documents_BT: Tensor | None = None,
    *,
    copied: bool = False,
) -> Tensor:
    """Returns the mixer's output, with the same random state at every call (dropout).

    The mixer is given a copy: whether it changes its input is for `repeatable` to say. `copied`:
    the input is one already.
    """
    set_dice(0)
    given_BTD = x_BTD if copied else x_BTD.clone()
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


def takes_documents(subject: Subject) -> bool:
    """Returns True if a mixer's forward takes documents and does not raise NotImplementedError."""
    mixer = subject.build()
    if not offers_documents(mixer):
        return False
    x_BTD = torch.randn(1, 8, subject.width, generator=subject.dice())
    try:
        run(mixer, x_BTD, torch.zeros(1, 8, dtype=torch.long))
    except NotImplementedError:
        return False
    return True


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


def describe(error: BaseException) -> str:
    """Returns the error in a few lines, with the candidate's own lines of the traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if _is_of_program(frame.filename)]
    # The program's own lines, each once; of move37 none, which would be taken for its own.
    lines = list(dict.fromkeys(f"{_place(frame)}: {frame.line}" for frame in own[-3:]))
    if isinstance(error, SyntaxError):
        text = (error.text or "").strip()[:200]
        lines = [f"{_in_file(error.filename or FILE)}line {error.lineno}: {text}"]
    message = str(error).strip().splitlines()
    told = f"{type(error).__name__}: {message[0][:300] if message else ''}".rstrip(": ")
    return "\n".join([told, *lines])


def line_in(stack: Iterable[traceback.FrameSummary]) -> str:
    """Returns the innermost line of the program in a stack, outermost first; "" if there is none.

    As "line 12: y = f(x)".
    """
    own = [frame for frame in stack if _is_of_program(frame.filename)]
    return f"{_place(own[-1])}: {(own[-1].line or '').strip()[:80]}" if own else ""


def _is_of_program(filename: str) -> bool:
    """Returns True for FILE and files beside it: those of libraries have absolute names."""
    return filename.endswith(".py") and not os.path.isabs(filename)


def _place(frame: traceback.FrameSummary) -> str:
    return f"{_in_file(frame.filename)}line {frame.lineno}"


def _in_file(filename: str) -> str:
    """Returns what stands before the number of a line: nothing for a program of one file."""
    return "" if filename == FILE else f"{filename}, "


def passed(check: str, evidence: str) -> CheckResult:
    return CheckResult(check, "passed", evidence)


def failed(check: str, evidence: str) -> CheckResult:
    return CheckResult(check, "failed", evidence)


def not_offered(check: str, missing: str) -> CheckResult:
    return CheckResult(check, "not offered", f"the mixer has no {missing}")


def not_implemented(check: str, error: NotImplementedError) -> CheckResult:
    """Returns the verdict of what a mixer's signature offers and its program does not."""
    return CheckResult(check, "not offered", f"it raises {in_short(error)}")
