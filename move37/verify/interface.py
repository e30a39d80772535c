"""Is it a mixer at all? Shapes, finite numbers, every precision.

Shape letters: B batch, T time, D model width.
"""

import traceback
import warnings
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from move37.records import CheckResult
from move37.verify.subject import Subject, failed, in_short, line_in, passed, run

# 1, odd, prime, around the usual chunk sizes.
LENGTHS = (1, 2, 5, 63, 64, 65, 130)
FULL_LENGTHS = (*LENGTHS, 127, 128, 129, 1021)
SCALES = (0.0, 1e-3, 1.0, 30.0, 1e3)
# Biases of this size hold a gate open or shut.
SHUT = 10.0
HALF_SCALES = (1e-3, 1.0, 30.0)  # of the inputs in half precision
STEPS, RATE = 200, 1e-2  # of the full level's training


class Broken(NamedTuple):
    """Why a mixer gives no output, and the same in a few words."""

    told: str
    short: str


@torch.no_grad()
def check_interface(subject: Subject) -> CheckResult:
    """A mixer keeps (B, T, D) and the dtype, for every batch and length."""
    mixer = subject.build()
    if not isinstance(mixer, nn.Module):
        return failed("interface", f"expected an nn.Module, got {type(mixer).__name__}")
    lengths = FULL_LENGTHS if subject.thorough else LENGTHS
    for dtype in (torch.float32, torch.float64):
        mixer = mixer.to(dtype)
        for batch, length in [(2, length) for length in lengths] + [(1, 7), (7, 3)]:
            x_BTD = torch.randn(batch, length, subject.width, dtype=dtype)
            try:
                y = run(mixer, x_BTD)
            except BaseException as error:  # noqa: BLE001  whatever a program raises is the evidence
                at = f"for input {tuple(x_BTD.shape)} {dtype} "
                return failed("interface", f"{at}forward raises {in_short(error)}")
            told = _not_kept(x_BTD, y)
            if told:
                return failed("interface", told)
    return passed("interface", f"keeps (B, T, D) for T from 1 to {max(lengths)}, two dtypes")


def _not_kept(x_BTD: Tensor, y: object) -> str | None:
    """Says what of the output is not as the input, if anything."""
    if not isinstance(y, Tensor):
        return f"forward returned {type(y).__name__}; a mixer returns one tensor (B, T, D)"
    if y.shape != x_BTD.shape or y.dtype != x_BTD.dtype:
        return (
            f"mixer returned {tuple(y.shape)} {y.dtype} for input "
            f"{tuple(x_BTD.shape)} {x_BTD.dtype}; a mixer keeps (B, T, D) and the dtype"
        )
    return None


@torch.no_grad()
def refused_at_once(subject: Subject) -> Broken | None:
    """Says why no check can tell more than the first: a forward at a usual shape gives no output.

    Or one of another shape.
    """
    length = 64 if subject.width != 64 else 128  # or a product of the wrong sides would fit
    x_BTD = torch.randn(2, length, subject.width, generator=subject.dice())
    try:
        told = _not_kept(x_BTD, run(subject.build(), x_BTD))
    except BaseException as error:  # noqa: BLE001  whatever a program raises is the evidence
        line, kind = line_in(traceback.extract_tb(error.__traceback__)), type(error).__name__
        at = f" at {line.split(':')[0]}" if line else ""
        return Broken(f"forward raises {in_short(error)}", f"forward raises {kind}{at}")
    return Broken(told, "forward does not keep (B, T, D)") if told else None


def check_finite(subject: Subject) -> CheckResult:
    """Outputs and gradients are numbers: for zero, small, usual and large inputs, and open gates.

    At the full level also while it is trained at a high rate.
    """
    length = 1024 if subject.thorough else 256
    for draw in range(subject.draws):
        mixer = subject.build(draw)
        rng = subject.dice(draw)
        for scale in SCALES:
            rows = {
                kind: scale * torch.randn(1, distinct, subject.width, generator=rng)
                for kind, distinct in (("random", length), ("constant", 1), ("repeated", 4))
            }
            rows = {kind: x.repeat(1, length // x.shape[1], 1) for kind, x in rows.items()}
            x_BTD = torch.cat(list(rows.values()))
            # Each kind alone too: a program may ask for that of all rows.
            batches = {"mixed": x_BTD} | (rows if scale == 1 else {})
            for batch_BTD in batches.values():
                told = _not_finite(mixer, batch_BTD)
                if told:
                    kinds = (kind for kind, x in rows.items() if _not_finite(mixer, x))
                    told += f" for {next(kinds, 'mixed')} inputs scaled by {scale:g}, T={length}"
                    return failed("finite", told)
        for bias in (SHUT, -SHUT):
            told = _not_finite(with_biases(subject.build(draw), bias), x_BTD / SCALES[-1])
            if told:
                return failed("finite", f"{told} where all biases are {bias:g}, T={length}")
    told = f"inputs scaled by {SCALES[0]:g} to {SCALES[-1]:g}, biases of {SHUT:g}, T={length}"
    if subject.thorough:
        step = _diverges(subject)
        if step is not None:
            return failed("finite", f"not finite after {step} AdamW steps at a rate of {RATE:g}")
        told += f", {STEPS} optimiser steps at a rate of {RATE:g}"
    return passed("finite", told)


def _not_finite(mixer: nn.Module, x_BTD: Tensor) -> str | None:
    """Says what of output and gradients is not finite, if anything."""
    mixer.zero_grad()
    x_BTD = x_BTD.detach().requires_grad_()
    y_BTD = run(mixer, x_BTD)
    if y_BTD.requires_grad:
        y_BTD.sum().backward()
    gradients = [p.grad for p in (x_BTD, *mixer.parameters()) if p.grad is not None]
    for name, tensors in (("output", [y_BTD]), ("gradient", gradients)):
        if not all(bool(tensor.isfinite().all()) for tensor in tensors):
            return f"{name} is not finite"
    return None


@torch.no_grad()
def with_biases(mixer: nn.Module, value: float) -> nn.Module:
    """Returns the mixer, all of whose parameters that are called a bias have this value."""
    for name, parameter in mixer.named_parameters():
        if name.endswith("bias") and parameter.is_floating_point():
            parameter.fill_(value)
    return mixer


def _diverges(subject: Subject) -> int | None:
    """Returns the step at which training stops being finite, if it does."""
    mixer = subject.build().train()
    optimizer = torch.optim.AdamW(mixer.parameters(), lr=RATE, betas=(0.9, 0.95))
    rng = subject.dice()
    for step in range(1, STEPS + 1):
        x_BTD = torch.randn(4, 32, subject.width, generator=rng)
        # To say what came a step before: a target that only memory reaches.
        loss = (run(mixer, x_BTD)[:, 1:] - x_BTD[:, :-1]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(mixer.parameters(), 1.0)
        optimizer.step()
        if not loss.isfinite():
            return step
    return None if all(bool(p.isfinite().all()) for p in mixer.parameters()) else STEPS


@torch.no_grad()
def check_precision(subject: Subject) -> CheckResult:
    """Works in the precision that it is given: float64 stays, bfloat16 and autocast are finite.

    Forward and backward, for small, usual and large inputs. A cast by name to a narrower type makes
    float64 useless, and with it every proof.
    """
    rng = subject.dice()
    x_BTD = torch.randn(2, 35, subject.width, generator=rng)
    mixer = subject.build().double()
    with _Narrowing() as narrowing:
        run(mixer, x_BTD.double())
    if narrowing.found:
        told = f"in float64 it casts to {' and '.join(sorted(narrowing.found))}"
        where = f" ({narrowing.line})" if narrowing.line else ""
        advice = "use the type of the input, or torch.promote_types of it and of float32"
        return failed("precision", f"{told}{where}: {advice}")

    exact_BTD, notes = run(subject.build(), x_BTD), []
    if getattr(mixer, "leaves_casts_out", False):  # see move37.nn.interop.adapter
        notes.append("casts to a narrower type by name are left out here")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that an operator takes a slower way
        for name in ("bfloat16", "autocast"):
            for scale in HALF_SCALES:
                half = _in_half(subject, name, scale * x_BTD)
                if half.fault:
                    told = f"{half.fault} in {name}, for inputs scaled by {scale:g}"
                    return failed("precision", told)
                if scale == 1 and half.y_BTD is not None:
                    size = exact_BTD.abs().max().clamp(min=1e-6)
                    gap = ((half.y_BTD.to(exact_BTD) - exact_BTD).abs().max() / size).item()
                    notes.append(f"{name} differs by {gap:.1%}")
            if half.lacking:
                notes.append(f"{name}: {half.lacking}")
    return passed("precision", f"no cast in float64; {', '.join(notes)}")


class _Half(NamedTuple):
    """The output in half precision, if there is one, what is wrong, and what PyTorch lacks."""

    y_BTD: Tensor | None
    fault: str = ""
    lacking: str = ""


def _in_half(subject: Subject, name: str, x_BTD: Tensor) -> _Half:
    """Runs forward and backward in bfloat16 or, as one trains, with the forward under autocast."""
    mixer, y_BTD, part = subject.build(), None, "forward"
    if name == "bfloat16":
        mixer, x_BTD = mixer.bfloat16(), x_BTD.bfloat16()
    try:
        with torch.enable_grad():
            x_BTD = x_BTD.detach().requires_grad_()
            with torch.autocast("cpu", torch.bfloat16, enabled=name == "autocast"):
                result_BTD = run(mixer, x_BTD)
            y_BTD, part = result_BTD.detach(), "backward"
            if not y_BTD.isfinite().all():
                return _Half(y_BTD, "output is not finite")
            if result_BTD.requires_grad:
                noise_BTD = torch.randn(y_BTD.shape, generator=subject.dice(1))
                result_BTD.backward(noise_BTD.to(y_BTD.dtype))
    except (RuntimeError, NotImplementedError) as error:
        # An operator that PyTorch has in no such precision (FFT) is not the mixer's fault.
        if any(words in str(error) for words in LACKING):
            return _Half(y_BTD, lacking=f"an operator of its {part} lacks it")
        return _Half(y_BTD, f"its {part} raises {in_short(error)}")
    for leaf_name, leaf in (("the input", x_BTD), *mixer.named_parameters()):
        if leaf.grad is not None and not leaf.grad.isfinite().all():
            return _Half(y_BTD, f"the gradient of {leaf_name} is not finite")
    return _Half(y_BTD)


# In PyTorch's messages where an operator does not exist in half precision.
LACKING = (
    "not implemented for",
    "Unsupported dtype",
    "not supported",
    "only supported for",
    "to be Half, Float or Double",
    "must be either float or double",
    "could not create a primitive",
)


# They take a tensor for its device only.
_FACTORIES = ("new_", "empty")


class _Narrowing(TorchDispatchMode):
    """Notes each operator that makes a narrower floating-point tensor out of a float64 one."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: set[str] = set()
        self.line = ""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        given = [x for x in tree_leaves(args) if isinstance(x, Tensor)]
        wide = any(x.dtype == torch.float64 for x in given)
        if wide and not name.startswith(_FACTORIES) and not name.endswith("_like"):
            for x in tree_leaves(result):
                if isinstance(x, Tensor) and x.is_floating_point() and x.dtype != torch.float64:
                    self.found.add(str(x.dtype).removeprefix("torch."))
                    self.line = self.line or line_in(traceback.extract_stack())
        return result
