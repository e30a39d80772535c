"""Can it be built: at every size, with its options, without data, and with all of it initialised?

Shape letters: B batch, T time, D model width, H heads.
"""

from typing import Any

import torch
from torch import nn

from move37.nn.memory import filled_memory, may_be_unset
from move37.records import CheckResult
from move37.verify.subject import Subject, failed, in_short, passed, run, set_dice

# (D, H), odd ones and heads that do not divide the width among them.
SIZES = ((16, 1), (32, 2), (32, 4), (48, 3), (33, 1), (21, 3), (20, 3))
LENGTH = 19


def check_builds(subject: Subject) -> CheckResult:
    """What its constructor accepts works, without data, and no number is left to chance.

    A constructor may refuse a size or an option, by any error; what it accepts has to run and keep
    the shape. Of the other sizes that are tried, a width that is no multiple of four for each head
    may be refused in the forward pass too, by any error, and so may an option at a width of the
    subject's own that is none, or a size of zero. Options are tried at the full level.
    """
    told = _left_to_chance(subject) or _without_data(subject)
    if told:
        return failed("builds", told)
    refused = []
    own = subject.width, subject.heads
    sizes = dict.fromkeys((own, *SIZES))
    attempts = [(f"width {D}, {H} heads", subject.make, D, H) for D, H in sizes]
    if subject.thorough:  # before training, only what is trained counts
        attempts += [(option, make, *own) for option, make in subject.variants.items()]
    for what, make, D, H in attempts:
        set_dice(0)
        try:
            mixer = make(D, H)
        except BaseException:  # noqa: BLE001  what is not offered is refused by any error
            refused.append(what)
            continue
        x_BTD = torch.randn(2, LENGTH, D, generator=subject.dice())
        try:
            with torch.no_grad():
                y_BTD = run(mixer, x_BTD)
        except BaseException as error:  # noqa: BLE001  whatever it raises is the evidence
            unusual = (own != (D, H) or what in subject.variants) and D % (4 * H)
            if unusual or what.endswith("=0"):  # most layers, a convolution too, find out only here
                refused.append(what)
                continue
            return failed("builds", f"built with {what}, its forward raises {in_short(error)}")
        if y_BTD.shape != x_BTD.shape or not y_BTD.isfinite().all():
            shapes = f"{tuple(y_BTD.shape)} for {tuple(x_BTD.shape)}"
            told = shapes if y_BTD.shape != x_BTD.shape else "what is not finite"
            return failed("builds", f"with {what} its forward gives {told}")
    told = f"{len(attempts) - len(refused)} sizes and options, all parameters initialised"
    if hasattr(subject.build(), "reset_parameters"):
        told += ", from the meta device too"
    return passed("builds", told + (f"; refuses {', '.join(refused)}"[:200] if refused else ""))


def _left_to_chance(subject: Subject) -> str | None:
    """Says which parameter or buffer nobody has set: memory that is asked for is NaN meanwhile."""
    set_dice(0)
    with filled_memory():
        mixer = subject.make(subject.width, subject.heads)
    for name, value in (*mixer.named_parameters(), *mixer.named_buffers()):
        if may_be_unset(value):
            return f"{name} is never initialised"
    return None


def _without_data(subject: Subject) -> str | None:
    """Says what differs when it is built on the meta device, as large models are."""
    mixer = subject.build()
    empty: Any
    try:
        with torch.device("meta"):
            empty = subject.build()
    except BaseException as error:  # noqa: BLE001  whatever it raises is the evidence
        told = "large models are built there first, so a constructor needs no tensor's value"
        return f"on the meta device it raises {in_short(error)} ({told})"
    shapes = {name: (p.shape, p.dtype) for name, p in mixer.named_parameters()}
    if shapes != {name: (p.shape, p.dtype) for name, p in empty.named_parameters()}:
        return "on the meta device it has other parameters"
    # The model's own initialisation, where there is one for every part.
    if not hasattr(empty, "reset_parameters"):
        return None
    with filled_memory():
        empty.to_empty(device="cpu")
        for module in empty.modules():
            if module is not empty and hasattr(module, "reset_parameters"):
                module.reset_parameters()
        empty.reset_parameters()
    built = dict(mixer.named_buffers())
    for name, value in (*empty.named_parameters(), *empty.named_buffers()):
        # A mask that is true all over, as poisoned memory is, and otherwise is not.
        mask = name in built and value.dtype == built[name].dtype == torch.bool
        if may_be_unset(value) or (mask and value.all() and not built[name].all()):
            return f"reset_parameters leaves {name} uninitialised on the way from the meta device"
    return _does_not_run(subject, empty)


@torch.no_grad()
def _does_not_run(subject: Subject, mixer: nn.Module) -> str | None:
    """Says how the forward fails after the way from the meta device: tensors in attributes stay."""
    x_BTD = torch.randn(2, LENGTH, subject.width, generator=subject.dice())
    after = "after the way from the meta device, with to_empty and reset_parameters, its forward"
    try:
        y_BTD = run(mixer, x_BTD)
    except BaseException as error:  # noqa: BLE001  whatever it raises is the evidence
        return f"{after} raises {in_short(error)}"
    return None if y_BTD.isfinite().all() else f"{after} is not finite"
