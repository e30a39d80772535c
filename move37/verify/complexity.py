"""Does the work grow slower than the square of the length? Counted, never timed."""

import torch

from move37.nn.counting import Work
from move37.records import CheckResult
from move37.verify.subject import Subject, failed, passed, run

SHORT, LONG = 256, 1024
# Work per token may grow by this from SHORT to LONG: T log T gives 10 / 8 = 1.25, T^2 gives 4.
GROWTH = 1.35
# An operator with less work per token than this at LONG is a constant, not a growth.
NEGLIGIBLE = 4


def check_subquadratic(subject: Subject) -> CheckResult:
    """Work per token, forward and backward, is (all but) the same at both lengths.

    Each operator is judged by itself, so that a small quadratic term does not hide behind a
    large linear one. An operator whose cost is unknown is refused.
    """
    counted = []
    for length in (SHORT, LONG):
        mixer = subject.build()
        x_BTD = torch.randn(1, length, subject.width)
        with Work() as work:
            run(mixer, x_BTD).sum().backward()
        if work.unknown:
            told = f"the cost of {', '.join(sorted(work.unknown))} is not known"
            return failed("sub-quadratic", told)
        counted.append(work)
    short, long = counted
    for name in [*long.flops, *long.elements]:
        kind = "flops" if name in long.flops else "elements"
        before = getattr(short, kind)[name] / SHORT
        after = getattr(long, kind)[name] / LONG
        if after > NEGLIGIBLE and after > GROWTH * before:
            told = (
                f"{name} does {before:,.0f} {kind} per token at T={SHORT}, {after:,.0f} at T={LONG}"
            )
            return failed("sub-quadratic", told)
    ratio = long.total / LONG / (short.total / SHORT)
    told = f"work per token grows by {ratio:.2f} from T={SHORT} to T={LONG}"
    return passed("sub-quadratic", told)
