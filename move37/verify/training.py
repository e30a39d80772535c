"""Can it be trained: does every parameter learn, and does the memory take part?

Shape letters: B batch, T time, D model width.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from move37.records import CheckResult
from move37.verify.interface import SHUT, with_biases
from move37.verify.subject import Subject, failed, passed, run

# Far below what any loss gives, so that one that is added shows.
TINY = 1e-9
# Of the largest gradient: a bias that a softmax cancels has some 1e-17 of it, in float64.
NOISE = 1e-14
PAST = "the mixer brings a loss of its own past auxiliary_loss()"


def check_gradients(subject: Subject) -> CheckResult:
    """Within a few optimiser steps, every parameter gets a gradient.

    Not at once: behind a gate that starts at zero it comes with the second step. Behind two
    such gates it never comes. A loss of its own has to go through `auxiliary_loss`, which the
    trainer reads, and adds nothing to the gradients by itself. Reports how much of the output comes
    from memory.
    """
    told = _hidden_loss(subject)
    if told:
        return failed("gradients", told)
    # In float64, where rounding noise is far below any gradient that teaches something.
    mixer: Any = subject.build().double().train()
    share = f"{memory_share(subject):.0%} of the output is memory{_dropped(subject)}"
    rng = subject.dice()
    waiting = {name for name, parameter in mixer.named_parameters() if parameter.requires_grad}
    if not waiting:
        return failed("gradients", "the mixer has no parameters to train")
    total = len(waiting)
    optimizer = torch.optim.SGD(mixer.parameters(), lr=0.1)
    for length in (67, 67, 67, 67, 1024):  # the last for parameters that only long inputs reach
        x_BTD, target_BTD = (
            torch.randn(2, length, subject.width, generator=rng, dtype=torch.float64)
            for _ in range(2)
        )
        optimizer.zero_grad()
        y_BTD = run(mixer, x_BTD)
        auxiliary = 0 * y_BTD.sum()
        if hasattr(mixer, "auxiliary_loss"):
            auxiliary = mixer.auxiliary_loss()
            if not isinstance(auxiliary, Tensor) or auxiliary.numel() != 1:
                return failed("gradients", "auxiliary_loss() does not return one number")
        else:
            for name in _unread_losses(mixer):
                told = f"{name} keeps a loss that no one reads (see restorable): return it from "
                told += "auxiliary_loss()"
                return failed("gradients", told)
        loss = (y_BTD - target_BTD).square().sum(dim=-1).mean() + auxiliary.squeeze()
        loss.backward()
        waiting -= _learning(mixer)
        if not waiting:
            return passed("gradients", f"all {total} parameter tensors get a gradient; {share}")
        nn.utils.clip_grad_norm_(mixer.parameters(), 1.0)
        optimizer.step()
    saturated = waiting & _learning_when_saturated(subject)
    if waiting == saturated:
        told = f"all {total} parameter tensors get a gradient, {', '.join(sorted(saturated))} "
        return passed("gradients", f"{told}where gates are saturated only; {share}")
    return failed("gradients", f"no gradient reaches {', '.join(sorted(waiting - saturated))}")


def _learning(mixer: nn.Module) -> set[str]:
    """Returns the parameters whose gradient is more than rounding noise beside the largest."""
    sizes = {
        name: parameter.grad.abs().max().item()
        for name, parameter in mixer.named_parameters()
        if parameter.grad is not None and parameter.numel()
    }
    most = max(sizes.values(), default=0.0)
    return {name for name, size in sizes.items() if size > NOISE * most}


def _learning_when_saturated(subject: Subject) -> set[str]:
    """Returns the parameters that get a gradient for large inputs, or where biases shut gates."""
    found: set[str] = set()
    for bias, scale in ((0.0, 30.0), (SHUT, 1.0), (-SHUT, 1.0)):
        mixer = subject.build().double().train()
        if bias:
            with_biases(mixer, bias)
        rng = subject.dice()
        x_BTD, upstream_BTD = torch.randn(
            2, 2, 67, subject.width, generator=rng, dtype=torch.float64
        )
        y_BTD = run(mixer, scale * x_BTD)
        if y_BTD.requires_grad:
            y_BTD.backward(upstream_BTD)
        found |= _learning(mixer)
    return found


def _dropped(subject: Subject) -> str:
    """Returns a note on tensors that a layer returns beside its output, and that nobody reads."""
    mixer = subject.build().train()
    run(mixer, torch.randn(2, 67, subject.width, generator=subject.dice()))
    count = getattr(mixer, "drops_of_the_graph", 0)  # see move37.nn.interop.adapter
    tensors = "a tensor" if count == 1 else f"{count} tensors"
    return f"; drops {tensors} of the graph beside the output: a loss of its own?" if count else ""


def _hidden_loss(subject: Subject) -> str | None:
    """Says where a backward pass gives a gradient that does not come from the output's.

    None comes where the output has none. Where the output's is tiny, it turns with its sign, which
    holds as well where a backward pass by hand clips, rounds or normalises.
    """
    names = [*(name for name, _ in subject.build().named_parameters()), "the input"]
    for name, gradient in zip(names, _gradients(subject, 0.0), strict=True):
        if not gradient.isfinite().all():
            return f"{name} gets NaN for its gradient where that of the output is zero"
        if bool((gradient != 0).any()):
            return f"{name} gets a gradient where that of the output is zero: {PAST}"
    up, down = _gradients(subject, TINY), _gradients(subject, -TINY)
    for name, one, other in zip(names, up, down, strict=True):
        if (one + other).norm() > 0.5 * (one.norm() + other.norm()):
            return f"{name} gets a gradient that does not turn with that of the output: {PAST}"
    return None


def _gradients(subject: Subject, size: float) -> list[Tensor]:
    """Returns the gradients of parameters and input in train mode, for an output's of this size.

    The mixer is built anew, so that nothing is left of an earlier call.
    """
    mixer = subject.build().double().train()
    rng = subject.dice()
    x_BTD, upstream_BTD = torch.randn(2, 2, 67, subject.width, generator=rng, dtype=torch.float64)
    x_BTD.requires_grad_()
    y_BTD = run(mixer, x_BTD)
    if y_BTD.requires_grad:
        y_BTD.backward(size * upstream_BTD)
    leaves = (*mixer.parameters(), x_BTD)
    return [torch.zeros(()) if leaf.grad is None else leaf.grad for leaf in leaves]


@torch.no_grad()
def memory_share(subject: Subject, length: int = 64) -> float:
    """Returns how much of the output comes from earlier tokens, 0 to 1, at initialisation.

    The last output against the one that the last token gives alone, relative to the larger.
    """
    rng = subject.dice()
    mixer = subject.build().eval()
    x_BTD = torch.randn(8, length, subject.width, generator=rng)
    whole_BD, alone_BD = run(mixer, x_BTD)[:, -1], run(mixer, x_BTD[:, -1:])[:, 0]
    size = torch.maximum(whole_BD.norm(dim=-1), alone_BD.norm(dim=-1)).clamp(min=1e-30)
    share_B: Tensor = (whole_BD - alone_BD).norm(dim=-1) / size
    return share_B.clamp(max=1).mean().item()


def _unread_losses(mixer: nn.Module) -> Iterator[str]:
    """Yields the attributes that hang on the graph of the last forward pass."""
    for path, module in mixer.named_modules():
        for name, value in vars(module).items():
            if name in ("_parameters", "_buffers", "_modules"):
                continue
            leaves = (x for x in tree_leaves(value) if isinstance(x, Tensor))
            if any(x.grad_fn is not None and x.numel() == 1 for x in leaves):
                yield f"{path}.{name}".lstrip(".")
