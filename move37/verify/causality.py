"""Does an output see its own future?

Shape letters: B batch, T time, D model width, C cuts.
"""

import torch

from move37.records import CheckResult
from move37.verify.subject import TOLERANCE, Subject, failed, moved, passed, run

LENGTH = 67  # prime: no chunk size divides it, so no chunk border hides a leak
# Around every usual chunk edge; a mixer that divides by the length fails at each.
PREFIXES = (1, 2, 3, 5, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 96, 127, 128, 129)
FULL_LENGTH = 131  # prime too
FULL_PREFIXES = (*PREFIXES, 191, 192, 193, 255, 256, 257)


@torch.no_grad()
def check_causality(subject: Subject) -> CheckResult:
    """Redrawing the inputs from position t on leaves every output before t as it was.

    Inputs and parameters are random, in float64. Outputs are (piecewise) analytic in both, and
    an analytic function that is not zero everywhere is zero almost nowhere: a leak shows at the
    first draw. In train mode and in eval mode, which may differ.
    """
    length = LENGTH if subject.level == "quick" else FULL_LENGTH
    for draw in range(subject.draws):
        mixer, x_1TD = subject.random(draw, length)
        rng = torch.Generator().manual_seed(draw)
        # One batch row per cut C: row t - 1 keeps the inputs before t and redraws the rest.
        redrawn_CTD = torch.randn(
            length - 1, length, subject.width, generator=rng, dtype=torch.float64
        )
        past_CT1 = torch.ones(length, length, dtype=torch.bool).tril(-1)[1:, :, None]
        for mode in ("eval", "train"):
            mixer.train(mode == "train")
            same_CTD = run(mixer, x_1TD.expand(length - 1, -1, -1))
            moved_CTD = (run(mixer, torch.where(past_CT1, x_1TD, redrawn_CTD)) - same_CTD).abs()
            moved_CTD = moved_CTD / same_CTD.abs().max().clamp(min=1)
            leak, cut = moved_CTD.masked_fill(~past_CT1, 0).amax(dim=(1, 2)).max(dim=0)
            if not leak <= TOLERANCE:  # written this way round so that NaN fails too
                told = f"an output before t={int(cut) + 1} moved by {leak:.1e}"
                return failed("causality", f"{told} with the inputs from there on ({mode} mode)")
    return passed("causality", f"{length - 1} cuts, nothing moved by {TOLERANCE:.0e}")


@torch.no_grad()
def check_prefix(subject: Subject) -> CheckResult:
    """f(x)[:t] equals f(x[:t]): an output does not know how long the sequence is.

    No perturbation at a fixed length finds a mixer that divides by the length, or that takes
    another branch when the length is a multiple of its chunk.
    """
    prefixes = PREFIXES if subject.level == "quick" else FULL_PREFIXES
    for draw in range(subject.draws):
        mixer, x_1TD = subject.random(draw, max(prefixes) + 1)
        whole_1TD = run(mixer, x_1TD)
        for t in prefixes:
            gap = moved(run(mixer, x_1TD[:, :t]), whole_1TD[:, :t])
            if not gap <= TOLERANCE:
                told = f"the first {t} outputs move by {gap:.1e} when the sequence ends there"
                return failed("prefix", told)
    return passed("prefix", f"{len(prefixes)} prefixes equal the whole")


@torch.no_grad()
def check_independence(subject: Subject) -> CheckResult:
    """A batch row gives the same alone, beside others, and beside changed others."""
    for draw in range(subject.draws):
        mixer, x_1TD = subject.random(draw, 35)
        rng = torch.Generator().manual_seed(draw)
        others_BTD = torch.randn(2, 3, 35, subject.width, generator=rng, dtype=torch.float64)
        for mode in ("eval", "train"):
            mixer.train(mode == "train")
            first, second = (
                run(mixer, torch.cat([x_1TD, others]))[:1] for others in others_BTD.unbind()
            )
            gap = moved(first, second)
            if mode == "eval":  # with dropout, the dice of a row depend on the batch
                gap = max(gap, moved(run(mixer, x_1TD), first), key=lambda v: v if v == v else 2.0)
            if not gap <= TOLERANCE:
                told = f"a row moves by {gap:.1e} when the other rows change ({mode} mode)"
                return failed("independence", told)
    return passed("independence", "a row gives the same alone and beside three others")
