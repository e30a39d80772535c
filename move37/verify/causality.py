"""Does an output see its own future, the length of the sequence, or another row?

Shape letters: B batch, T time, D model width, C cuts.
"""

import torch
from torch import Tensor, nn

from move37.records import CheckResult
from move37.verify.subject import TOLERANCE, Subject, draws, failed, moved, passed, run

LENGTH = 67  # prime: no chunk size divides it, so no chunk border hides a leak
# Around every usual chunk edge; a mixer that divides by the length fails at each.
PREFIXES = (1, 2, 3, 5, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 96, 127, 128, 129)
FULL_LENGTH = 131  # prime too
KIND_ROWS = 4  # of each kind alone: as many cuts
WHOLE_CHUNKS = 64  # a multiple of every usual chunk size; twice that at the full level
# In float32, rounding is some 1e-6 of the output; a leak that pays is far larger.
FLOAT32_TOLERANCE = 1e-3
TRAIN_PREFIXES = (1, 16, 33, 64, 128)
FULL_PREFIXES = (*PREFIXES, 191, 192, 193, 255, 256, 257, 511, 512, 513, 1025)


def check_causality(subject: Subject) -> CheckResult:
    """Redrawing the inputs from position t on leaves every output before t as it was.

    Inputs and parameters are random, in float64. Outputs are (piecewise) analytic in both, and
    an analytic function that is not zero everywhere is zero almost nowhere: a leak shows at the
    first draw. In train mode and in eval mode, which may differ, for several kinds of inputs, mixed
    and alone, and for parameters near the mixer's own, which may take another branch; and by
    gradients, which may take another way than values.
    """
    length = FULL_LENGTH if subject.thorough else LENGTH
    for draw in range(subject.draws):
        mixer, x_1TD = subject.random(draw, length)
        # One batch row per cut C.
        past_CT1 = _past(length)
        for mode in ("eval", "train"):
            mixer.train(mode == "train")
            told = _seen_by_value(subject, mixer, length, draw)
            if told is None and mode == "train":  # whole chunks, which may take another way
                told = _seen_by_value(subject, mixer, WHOLE_CHUNKS * subject.draws, draw)
            if told is None and (subject.thorough or mode == "train"):
                told = _seen_by_kind(subject, mixer, draw)
            if told is None and (subject.thorough or mode == "eval"):
                told = _seen_by_gradient(subject, mixer, x_1TD.expand(length - 1, -1, -1), past_CT1)
            if told is not None:
                return failed("causality", f"{told} ({mode} mode)")
        own = subject.near_its_own(draw)
        for mode in ("eval", "train") if subject.thorough else ("eval",):
            told = _seen_by_kind(subject, own.train(mode == "train"), draw)
            if told is not None:
                return failed("causality", f"{told} ({mode} mode, parameters near its own)")
    if subject.thorough:
        for batch in (16, 32):
            told = _seen_as_trained(subject, batch)
            if told is not None:
                return failed("causality", f"{told} (float32, batch of {batch})")
    return passed(
        "causality", f"{length - 1} cuts of {length} tokens, none moved by {TOLERANCE:.0e}"
    )


def _past(length: int) -> Tensor:
    """Returns which positions stay as they are, for each cut: row t - 1 keeps those before t."""
    return torch.ones(length, length, dtype=torch.bool).tril(-1)[1:, :, None]


def _seen_by_value(subject: Subject, mixer: nn.Module, length: int, draw: int) -> str | None:
    # While gradients are recorded, in train mode: a program can tell.
    with torch.set_grad_enabled(mixer.training):
        return _difference(subject, mixer, length, draw)


def _difference(subject: Subject, mixer: nn.Module, length: int, draw: int) -> str | None:
    past_CT1 = _past(length)
    cuts = length - 1
    x_CTD = subject.inputs(draw, cuts, length)
    redrawn_CTD = torch.where(past_CT1, x_CTD, subject.inputs(draw + 1, cuts, length))
    same_CTD = run(mixer, x_CTD).detach()
    # A large input may overflow in an honest mixer: such a row shows nothing.
    shown_C = same_CTD.isfinite().all(dim=2).all(dim=1)
    if shown_C.sum() < cuts / 2:
        return "outputs are not finite for inputs of size 4"
    scale = same_CTD[shown_C].abs().max().clamp(min=1)
    moved_CTD = ((run(mixer, redrawn_CTD).detach() - same_CTD).abs() / scale)[shown_C]
    leak, place = moved_CTD.masked_fill(~past_CT1[shown_C], 0).amax(dim=(1, 2)).max(dim=0)
    if leak <= TOLERANCE:  # written this way round so that NaN fails too
        return None
    row = int(shown_C.nonzero()[place])
    told = f"an output before t={row + 1} moved by {leak:.1e} with the inputs from there on"
    if not _hears_itself(mixer, x_CTD, subject.inputs(draw + 1, cuts, length), row, row + 1):
        return f"{told}, in other rows of the batch (see independence)"
    return _heard(mixer, x_CTD[row], subject.inputs(draw + 1, cuts, length)[row], cuts) or told


def _seen_by_kind(subject: Subject, mixer: nn.Module, draw: int) -> str | None:
    """Looks for leaks in batches of one kind of inputs: a program may ask for that of all rows."""
    rows = KIND_ROWS
    past_RT1 = _past(LENGTH)[:: LENGTH // rows][:rows]
    others = subject.kinds(draw + 1, rows, LENGTH)
    for kind, x_RTD in subject.kinds(draw, rows, LENGTH).items():
        with torch.set_grad_enabled(mixer.training):
            same_RTD = run(mixer, x_RTD).detach()
            redrawn_RTD = run(mixer, torch.where(past_RT1, x_RTD, others[kind])).detach()
        shown_R = same_RTD.isfinite().all(dim=2).all(dim=1)  # as for mixed kinds
        if not shown_R.any():
            continue
        scale = same_RTD[shown_R].abs().max().clamp(min=1)
        gap_RT1 = ((redrawn_RTD - same_RTD).abs() / scale).amax(dim=2, keepdim=True)
        gap_RT = gap_RT1.masked_fill(~past_RT1, 0)[shown_R, :, 0]
        if gap_RT.max() <= TOLERANCE:
            continue
        row, output = divmod(int(gap_RT.argmax()), LENGTH)
        row = int(shown_R.nonzero()[row])
        cut = int(past_RT1[row].sum())
        told = f"output {output} moved by {gap_RT.max():.1e} with the inputs from t={cut} on"
        with torch.set_grad_enabled(mixer.training):
            if not _hears_itself(mixer, x_RTD, others[kind], row, cut):
                return f"{told}, in other rows of the batch (see independence)"
        return f"{told}, where all inputs are {kind}"
    return None


def _hears_itself(mixer: nn.Module, x_RTD: Tensor, other_RTD: Tensor, row: int, cut: int) -> bool:
    """Returns True if a row's beginning moves with its own end, all other rows being the same."""
    redrawn_RTD = x_RTD.clone()
    redrawn_RTD[row, cut:] = other_RTD[row, cut:]
    same_TD = run(mixer, x_RTD)[row, :cut].detach()
    return not moved(run(mixer, redrawn_RTD)[row, :cut].detach(), same_TD) <= TOLERANCE


def _heard(mixer: nn.Module, x_TD: Tensor, other_TD: Tensor, rows: int) -> str | None:
    """Says which output hears which later input most, of those that are redrawn one by one.

    None if no input alone moves an output before it. As many rows at a time as the leak was seen
    with: a program can tell.
    """
    found = (0.0, 0, 0)  # how far, output, input
    x_RTD = x_TD.repeat(rows, 1, 1)
    same_RTD = run(mixer, x_RTD).detach()
    scale = same_RTD.abs().max().clamp(min=1)
    places_T = torch.arange(len(x_TD))
    for inputs_R in places_T[1:].split(rows):
        redrawn_RTD = x_RTD.clone()
        redrawn_RTD[range(len(inputs_R)), inputs_R] = other_TD[inputs_R]
        gap_RT = ((run(mixer, redrawn_RTD).detach() - same_RTD).abs() / scale).amax(dim=2)
        earlier_RT = places_T < inputs_R[:, None]
        gap_RT = gap_RT[: len(inputs_R)].nan_to_num(0.0).masked_fill(~earlier_RT, 0)
        row, output = divmod(int(gap_RT.argmax()), len(x_TD))
        found = max(found, (gap_RT[row, output].item(), output, int(inputs_R[row])))
    leak, output, place = found
    tolerance = TOLERANCE if x_TD.dtype == torch.float64 else FLOAT32_TOLERANCE
    if leak <= tolerance:
        return None
    return f"output {output} hears input {place} (relative change {leak:.1e})"


@torch.no_grad()
def _seen_as_trained(subject: Subject, batch: int) -> str | None:
    """In the precision and at a shape of training, which a program may know."""
    mixer = subject.random(0, LENGTH)[0].float().train()
    length = 2 * WHOLE_CHUNKS
    x_BTD = subject.inputs(0, batch, length).float()
    cut_B11 = (1 + torch.arange(batch) * (length - 1) // batch)[:, None, None]
    past_BT1 = torch.arange(length)[:, None] < cut_B11
    other_BTD = torch.where(past_BT1, x_BTD, subject.inputs(1, batch, length).float())
    same_BTD, other_BTD = run(mixer, x_BTD), run(mixer, other_BTD)
    if not same_BTD.isfinite().all():
        return None  # redrawn parameters may overflow in float32; `finite` looks at the own ones
    gap_BTD = (same_BTD - other_BTD).abs() / same_BTD.abs().amax().clamp(min=1)
    leak_B = gap_BTD.masked_fill(~past_BT1, 0).amax(dim=(1, 2))
    leak, row = leak_B.max().item(), int(leak_B.argmax())
    if leak <= FLOAT32_TOLERANCE:
        return None
    told = f"an output moves by {leak:.1e} with its future"
    return _heard(mixer, x_BTD[row], subject.inputs(1, batch, length)[row].float(), batch) or told


def _seen_by_gradient(
    subject: Subject, mixer: nn.Module, x_CTD: Tensor, past_CT1: Tensor
) -> str | None:
    x_CTD = x_CTD.clone().requires_grad_()
    rng = subject.dice()
    y_CTD = run(mixer, x_CTD)
    if not y_CTD.requires_grad:
        return None  # `gradients` says so
    weight_CTD = torch.randn(y_CTD.shape, generator=rng, dtype=y_CTD.dtype) * past_CT1
    (gradient_CTD,) = torch.autograd.grad((y_CTD * weight_CTD).sum(), x_CTD, allow_unused=True)
    if gradient_CTD is None:
        return None
    scale = gradient_CTD.abs().max().clamp(min=1)
    size_CT = (gradient_CTD.abs().amax(dim=2) / scale).masked_fill(past_CT1[..., 0], 0)
    leak = size_CT.max()
    if leak <= TOLERANCE:
        return None
    row, place = divmod(int(size_CT.argmax()), size_CT.shape[1])
    # Which of the outputs before the cut it is: each asked in a row of its own.
    x_CTD = x_CTD.detach().requires_grad_()
    alone_CT1 = torch.eye(len(x_CTD), x_CTD.shape[1], dtype=x_CTD.dtype)[..., None]
    (asked_CTD,) = torch.autograd.grad(
        (run(mixer, x_CTD) * weight_CTD[-1] * alone_CT1).sum(), x_CTD, allow_unused=True
    )
    if asked_CTD is None:
        return f"outputs before t={row + 1} have a gradient of {leak:.1e} from input {place}"
    output = int(asked_CTD[: row + 1, place].abs().amax(dim=1).argmax())
    return f"the gradient of output {output} reaches input {place} (relative size {leak:.1e})"


@torch.no_grad()
def check_prefix(subject: Subject) -> CheckResult:
    """f(x)[:t] equals f(x[:t]): an output does not know how long the sequence is.

    No perturbation at a fixed length finds a mixer that divides by the length, or that takes
    another branch when the length is a multiple of its chunk.
    """
    prefixes = FULL_PREFIXES if subject.thorough else PREFIXES
    as_trained = prefixes if subject.thorough else TRAIN_PREFIXES
    for draw in range(subject.draws):
        mixer, x_1TD = subject.random(draw, max(prefixes) + 1)
        for mode, lengths in (("eval", prefixes), ("train", as_trained)):
            mixer.train(mode == "train")
            if mode == "train" and draws(mixer, x_1TD):
                continue  # the dice of a token depend on the length
            whole_1TD = run(mixer, x_1TD)
            for t in lengths:
                gap = moved(run(mixer, x_1TD[:, :t]), whole_1TD[:, :t])
                if not gap <= TOLERANCE:
                    told = "first output moves" if t == 1 else f"first {t} outputs move"
                    told += f" by {gap:.1e} when the sequence ends there ({mode} mode)"
                    return failed("prefix", f"the {told}")
    return passed("prefix", f"{len(prefixes)} prefixes equal the whole")


@torch.no_grad()
def check_independence(subject: Subject) -> CheckResult:
    """A batch row gives the same alone, beside others, and beside changed others."""
    for draw in range(subject.draws):
        mixer, x_1TD = subject.random(draw, 35)
        # Large ones too: a threshold over the whole batch then falls elsewhere.
        others = subject.inputs(draw, 3, 35), subject.inputs(draw + 1, 6, 35)[-3:]
        for mode in ("eval", "train"):
            mixer.train(mode == "train")
            first, second = (run(mixer, torch.cat([x_1TD, other]))[:1] for other in others)
            gap = moved(first, second)
            if mode == "eval" or not draws(mixer, x_1TD):  # dice depend on the batch
                alone = run(mixer, x_1TD)
                last = run(mixer, torch.cat([others[1], x_1TD]))[-1:]
                gaps = [gap, moved(alone, first), moved(alone, last)]
                gap = next((v for v in gaps if v != v), max(gaps))
            if not gap <= TOLERANCE:
                told = f"a row moves by {gap:.1e} when the other rows change ({mode} mode)"
                if mode == "eval" and draws(mixer, x_1TD):
                    told = f"a row moves by {gap:.1e} with the dice (see repeatable) ({mode} mode)"
                return failed("independence", told)
    return passed("independence", "a row gives the same alone and beside three others")
