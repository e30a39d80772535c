"""Is it a mixer at all? Shapes, finite numbers, a function, gradients.

Shape letters: B batch, T time, D model width.
"""

import torch
from torch import nn

from move37.records import CheckResult
from move37.verify.subject import Subject, failed, moved, passed, run

# 1, odd, prime, around the usual chunk sizes.
LENGTHS = (1, 2, 5, 63, 64, 65, 130)
SCALES = (0.0, 1e-3, 1.0, 30.0)


@torch.no_grad()
def check_interface(subject: Subject) -> CheckResult:
    """A mixer keeps (B, T, D) and the dtype, for every batch and length."""
    mixer = subject.build()
    if not isinstance(mixer, nn.Module):
        return failed("interface", f"expected an nn.Module, got {type(mixer).__name__}")
    for dtype in (torch.float32, torch.float64):
        mixer = mixer.to(dtype)
        for batch, length in [(2, length) for length in LENGTHS] + [(1, 7), (7, 3)]:
            x_BTD = torch.randn(batch, length, subject.width, dtype=dtype)
            y = run(mixer, x_BTD)
            if not isinstance(y, torch.Tensor):
                told = f"forward returned {type(y).__name__}; a mixer returns one tensor (B, T, D)"
                return failed("interface", told)
            if y.shape != x_BTD.shape or y.dtype != dtype:
                told = (
                    f"mixer returned {tuple(y.shape)} {y.dtype} for input "
                    f"{tuple(x_BTD.shape)} {dtype}; a mixer keeps (B, T, D) and the dtype"
                )
                return failed("interface", told)
    return passed("interface", f"keeps (B, T, D) for T from 1 to {LENGTHS[-1]}, two dtypes")


def check_finite(subject: Subject) -> CheckResult:
    """Outputs and gradients are numbers, for zero, small, usual and large inputs."""
    length = 256 if subject.level == "quick" else 1024
    for draw in range(subject.draws):
        mixer = subject.build(draw)
        rng = torch.Generator().manual_seed(draw)
        for scale in SCALES:
            for kind in ("random", "constant"):
                shape = (2, length if kind == "random" else 1, subject.width)
                x_BTD = torch.randn(shape, generator=rng).expand(2, length, -1) * scale
                y_BTD = run(mixer, x_BTD)
                mixer.zero_grad()
                y_BTD.sum().backward()
                gradients = [p.grad for p in mixer.parameters() if p.grad is not None]
                for name, tensors in (("output", [y_BTD]), ("gradient", gradients)):
                    if not all(bool(tensor.isfinite().all()) for tensor in tensors):
                        told = (
                            f"{name} is not finite for {kind} inputs of size {scale:g}, T={length}"
                        )
                        return failed("finite", told)
    return passed("finite", f"inputs of size {SCALES[0]:g} to {SCALES[-1]:g}, T={length}")


@torch.no_grad()
def check_repeatable(subject: Subject) -> CheckResult:
    """A second call gives the identical result, whatever was called in between.

    Nothing is left behind: no parameter, no buffer, and not the global dice.
    """
    mixer = subject.build().eval()
    rng = torch.Generator().manual_seed(0)
    x_BTD = torch.randn(2, 33, subject.width, generator=rng)
    other_BTD = torch.randn(3, 50, subject.width, generator=rng)
    before = {name: value.clone() for name, value in mixer.state_dict().items()}
    first_BTD = run(mixer, x_BTD)
    for what, between in (("an identical call", x_BTD), ("a call of another length", other_BTD)):
        run(mixer, between)
        again = moved(run(mixer, x_BTD), first_BTD)
        if not again == 0:
            return failed("repeatable", f"after {what} the same input gives {again:.1e} elsewhere")
    dice = torch.random.get_rng_state()
    mixer(x_BTD)
    if not torch.equal(dice, torch.random.get_rng_state()):
        return failed("repeatable", "a forward in eval mode draws from the global generator")
    for name, value in mixer.state_dict().items():
        if name not in before or not torch.equal(before[name], value):
            return failed("repeatable", f"a forward in eval mode changes {name} in the state dict")
    mixer.train()
    run(mixer, other_BTD)
    again = moved(run(mixer.eval(), x_BTD), first_BTD)
    if not again == 0:
        return failed("repeatable", f"a forward in train mode moves later outputs by {again:.1e}")
    return passed("repeatable", "the same input gives the same output, also after other calls")


def check_gradients(subject: Subject) -> CheckResult:
    """Within a few optimiser steps, every parameter gets a gradient.

    Not at once: behind a gate that starts at zero it comes with the second step. Behind two
    such gates it never comes.
    """
    mixer = subject.build().train()
    rng = torch.Generator().manual_seed(0)
    waiting = {name for name, parameter in mixer.named_parameters() if parameter.requires_grad}
    if not waiting:
        return failed("gradients", "the mixer has no parameters to train")
    total = len(waiting)
    optimizer = torch.optim.SGD(mixer.parameters(), lr=0.1)
    for length in (67, 67, 67, 67, 1024):  # the last for parameters that only long inputs reach
        x_BTD = torch.randn(2, length, subject.width, generator=rng)
        target_BTD = torch.randn(2, length, subject.width, generator=rng)
        optimizer.zero_grad()
        (run(mixer, x_BTD) * target_BTD).sum(dim=-1).square().mean().backward()
        for name, parameter in mixer.named_parameters():
            if parameter.grad is not None and bool((parameter.grad != 0).any()):
                waiting.discard(name)
        if not waiting:
            return passed("gradients", f"all {total} parameter tensors get a gradient")
        nn.utils.clip_grad_norm_(mixer.parameters(), 1.0)
        optimizer.step()
    return failed("gradients", f"no gradient reaches {', '.join(sorted(waiting))}")
