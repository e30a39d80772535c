"""Do work and memory grow slower than the square of the length? Counted, never timed."""

import contextlib
from collections import Counter
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor

from move37.nn.counting import Work
from move37.records import CheckResult
from move37.verify.subject import Subject, failed, passed, run

SHORT, LONG, FULL_LONG = 256, 1024, 4096
# Work per token may grow by this when T grows four times: T log T gives 10 / 8 = 1.25, T^2 gives 4.
GROWTH = 1.35
# Less per token than this at the longer length is a constant, not a growth.
NEGLIGIBLE = {"flops": 4, "elements": 4, "calls": 0.1, "bytes allocated": 16, "bytes saved": 16}
# The operators by which the gradients of slices add up: the usual loop over chunks pays them.
OF_SLICES = ("add", "add_", "slice_backward", "select_backward")
HINT = "; is there a loop over x[:, n]? The gradient of each slice is as large as x: use unbind"

Mode = Literal["eval", "train"]
MODES: tuple[Mode, ...] = ("eval", "train")  # the last one's growth is told


def check_subquadratic(subject: Subject) -> CheckResult:
    """Work per token is (all but) the same at several lengths, as it is trained and as it is used.

    Each operator is judged by itself, so that a small quadratic term does not hide behind a
    large linear one; so is the number of its calls. An operator whose cost is unknown is refused.
    """
    for mode in MODES:
        counted = _count(subject, mode)
        for _, work in counted:
            if work.unknown:
                told = f"the cost of {', '.join(sorted(work.unknown))} is not known"
                return failed("sub-quadratic", told)
        for (short, before), (long, after) in pairwise(counted):
            for kind in ("flops", "elements", "calls"):
                grown = _grown(getattr(before, kind), getattr(after, kind), kind, short, long)
                if grown:
                    return failed("sub-quadratic", f"{grown} ({mode} mode)")
    (short, before), (long, after) = counted[0], counted[-1]
    ratio = after.total / long / (max(1, before.total) / short)
    told = f"work per token grows by {ratio:.2f} from T={short} to T={long}"
    loops = {
        name: (after.calls[name] - calls) / (long - short) for name, calls in before.calls.items()
    }
    # A loop over chunks calls each operator less than once a token.
    if max(loops.values(), default=0) >= 1:
        told += f"; a Python loop over tokens: {sum(loops.values()):.0f} operators per token"
    return passed("sub-quadratic", told)


def check_memory(subject: Subject) -> CheckResult:
    """Memory per token, asked for and saved for the backward pass, does not grow either."""
    try:
        counted = _count(subject, saved=True)
    except RuntimeError as error:
        if "saved tensor hooks" not in str(error):
            raise
        counted = _count(subject)  # torch.func within a forward allows no such count
    for (short, before), (long, after) in pairwise(counted):
        for kind, attribute in (("bytes allocated", "allocated"), ("bytes saved", "saved")):
            told = _grown(getattr(before, attribute), getattr(after, attribute), kind, short, long)
            if told:
                return failed("memory", told)
    (short, before), (long, after) = counted[0], counted[-1]
    if not after.saved:
        return passed("memory", "bytes asked for per token do not grow; those saved are not known")
    per_token = after.saved.total() / long
    ratio = per_token / max(1.0, before.saved.total() / short)
    told = f"{per_token:,.0f} bytes per token saved for the backward pass"
    return passed("memory", f"{told}, {ratio:.2f} times those at T={short}")


def _grown(
    before: Counter[str], after: Counter[str], kind: str, short: int, long: int
) -> str | None:
    for name, total in after.items():
        then, now = before[name] / short, total / long
        if now > NEGLIGIBLE[kind] and now > GROWTH * then:
            digits = 1 if now < 10 else 0
            told = f"{name}: {then:,.{digits}f} {kind} per token at T={short}, "
            told += f"{now:,.{digits}f} at T={long}"
            return told + (HINT if name in OF_SLICES else "")
    return None


def _count(
    subject: Subject, mode: Mode = "train", *, saved: bool = False
) -> list[tuple[int, Work]]:
    """Returns the work at each length: forward and backward in train mode, else forward only.

    The input hangs on the graph, as in a model. `saved` counts what is saved for that too.
    """
    counted = []
    for length in (SHORT, LONG, FULL_LONG) if subject.thorough else (SHORT, LONG):
        mixer = subject.build().train(mode == "train")
        x_BTD = torch.randn(1, length, subject.width, requires_grad=mode == "train")
        work = Work()

        def keep(tensor: Tensor, work: Work = work) -> Tensor:
            work.save(tensor)
            return tensor

        hooks = torch.autograd.graph.saved_tensors_hooks(keep, _as_it_was)
        with work, hooks if saved else contextlib.nullcontext():
            with torch.set_grad_enabled(mode == "train"):
                y_BTD = run(mixer, x_BTD)
            if y_BTD.requires_grad:
                y_BTD.sum().backward()
        counted.append((length, work))
    return counted


def _as_it_was(tensor: Any) -> Any:
    return tensor
