"""Does an output see its own future, the length of the sequence, or another row?

Shape letters: B batch, T time, D model width, C cuts.
"""

import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from move37.records import CheckResult
from move37.verify.interface import LACKING
from move37.verify.subject import (
    TOLERANCE,
    TRAINED_LENGTHS,
    TRAINED_SHARE,
    Call,
    Subject,
    draws,
    failed,
    moved,
    normed,
    passed,
    run,
)

LENGTH = 67  # prime: no chunk size divides it, so no chunk border hides a leak
# Around every usual chunk edge; a mixer that divides by the length fails at each.
PREFIXES = (1, 2, 3, 5, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 96, 127, 128, 129)
FULL_LENGTH = 131  # prime too
KIND_ROWS = (3, 4, 5, 6, 7)  # of each kind alone: as many cuts
MOST_DRAWN = 128  # tokens, of lengths that are drawn
WHOLE_CHUNKS = 64  # a multiple of every usual chunk size; twice that at the full level
# In float32, rounding is some 1e-6 of the output; a leak that pays is far larger.
FLOAT32_TOLERANCE = 1e-3
# Under autocast a number has eight digits in base two, and a sum of rounded ones a few less.
AUTOCAST_TOLERANCE = 0.03
# Width and heads of the presets: what a program does there only, it is paid for.
PRESET_SIZE = (32, 2)
TRAIN_PREFIXES = (1, 16, 33, 64, 128)
FULL_PREFIXES = (*PREFIXES, 191, 192, 193, 255, 256, 257, 511, 512, 513, 1025)


def check_causality(subject: Subject) -> CheckResult:
    """Redrawing the inputs from position t on leaves every output before t as it was.

    Inputs and parameters are random, in float64. Outputs are (piecewise) analytic in both, and
    an analytic function that is not zero everywhere is zero almost nowhere: a leak shows at the
    first draw. In train mode and in eval mode, which may differ, for several kinds of inputs, mixed
    and alone, and for parameters near the mixer's own, which may take another branch; and by
    gradients, which may take another way than values. Lengths, numbers of rows, what is recorded
    and whether autocast is on are drawn anew for each kind (see `_situations`); what a model
    gives in training is tried at its own lengths, in float32 too. At the full level at other
    widths and numbers of heads as well.
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
                whole = WHOLE_CHUNKS * subject.draws
                told = _seen_by_value(subject, mixer, whole, draw, 1 if subject.thorough else 3)
            if told is None and (subject.thorough or mode == "eval"):
                told = _seen_by_gradient(subject, mixer, x_1TD.expand(length - 1, -1, -1), past_CT1)
            if told is not None:
                return failed("causality", f"{told} ({mode} mode)")
        if told := _seen_in_situations(subject, mixer, draw):
            return failed("causality", told)
    for batch in (None, 16, 32) if subject.thorough else (None,):
        if told := _seen_as_trained(subject, batch):
            return failed("causality", told)
    if subject.thorough and (told := _seen_at_other_sizes(subject)):
        return failed("causality", told)
    return passed(
        "causality", f"{length - 1} cuts of {length} tokens, none moved by {TOLERANCE:.0e}"
    )


def _past(length: int) -> Tensor:
    """Returns which positions stay as they are, for each cut: row t - 1 keeps those before t."""
    return torch.ones(length, length, dtype=torch.bool).tril(-1)[1:, :, None]


def _seen_by_value(
    subject: Subject, mixer: nn.Module, length: int, draw: int, stride: int = 1
) -> str | None:
    # In train mode with an input on a graph, as in a model: a program can tell.
    how = Call(train=mixer.training, gradients="graph" if mixer.training else "none")
    with torch.set_grad_enabled(mixer.training):
        return _difference(subject, mixer, how, length, draw, stride)


def _difference(
    subject: Subject, mixer: nn.Module, how: Call, length: int, draw: int, stride: int
) -> str | None:
    past_CT1 = _past(length)[subject.whole_number(0, stride, "first cut") :: stride]
    cuts = len(past_CT1)
    x_CTD = subject.inputs(draw, cuts, length)
    redrawn_CTD = torch.where(past_CT1, x_CTD, subject.inputs(draw + 1, cuts, length))
    same_CTD = how.run(mixer, x_CTD)
    # A large input may overflow in an honest mixer: such a row shows nothing.
    shown_C = same_CTD.isfinite().all(dim=2).all(dim=1)
    if shown_C.sum() < cuts / 2:
        return "outputs are not finite for inputs of size 4"
    scale = same_CTD[shown_C].abs().max().clamp(min=1)
    moved_CTD = ((how.run(mixer, redrawn_CTD) - same_CTD).abs() / scale)[shown_C]
    leak, place = moved_CTD.masked_fill(~past_CT1[shown_C], 0).amax(dim=(1, 2)).max(dim=0)
    if leak <= TOLERANCE:  # written this way round so that NaN fails too
        return None
    row = int(shown_C.nonzero()[place])
    cut = int(past_CT1[row].sum())
    told = f"an output before t={cut} moved by {leak:.1e} with the inputs from there on"
    other_CTD = subject.inputs(draw + 1, cuts, length)
    if not _hears_itself(mixer, how, x_CTD, other_CTD, row, cut):
        return f"{told}, in other rows of the batch (see independence)"
    return _heard(mixer, how, x_CTD[row], other_CTD[row], cuts) or told


class Situation(NamedTuple):
    """Inputs of one kind, and how a mixer is called with them."""

    kind: str
    how: Call
    rows: int
    length: int

    def __str__(self) -> str:
        return f"{self.how}, where all inputs are {self.kind}, T={self.length}"


def _situations(subject: Subject, draw: int, *, train: bool) -> Iterator[Situation]:
    """Yields a situation of each kind of inputs; what else a program can know of it is drawn.

    Of each of these, every option is there once at least: so that no program can tell by one of
    them that it is examined, and none by two of them that it is not. What a model gives, tokens
    behind a norm, is called as in training, or as in use, at the lengths of training.
    """
    T = [subject.whole_number(20, MOST_DRAWN, "length", draw, train, i) for i in range(3)]
    lengths = (*TRAINED_LENGTHS, LENGTH, 2 * (T[0] // 2), 2 * (T[1] // 2) + 1, T[2])
    options = {
        "rows": KIND_ROWS,
        "length": lengths,
        "gradients": ("none", "parameters", "leaf", "graph"),
        "autocast": (False, True),
    }
    kinds = [kind for kind in subject.kinds(0, 1, 1) if kind != "normed"]
    drawn = {
        name: subject.shuffled((values * len(kinds))[: len(kinds)], name, draw, train)
        for name, values in options.items()
    }
    for i, kind in enumerate(kinds):
        how = Call(train, drawn["gradients"][i], drawn["autocast"][i])
        yield Situation(kind, how, drawn["rows"][i], drawn["length"][i])
    inputs = subject.shuffled(("leaf", "graph"), "input", draw)
    for i, length in enumerate(TRAINED_LENGTHS):
        usual = Call(train, inputs[i] if train else "none")
        yield Situation("normed", usual, drawn["rows"][i], length)


def _seen_in_situations(subject: Subject, mixer: nn.Module, draw: int) -> str | None:
    """Looks for leaks in batches of one kind of inputs: a program may ask for that of all rows."""
    own = subject.near_its_own(draw, dtype=torch.float32)
    own.double()  # not `convert`: a program may note this as well, as one that is trained in it
    modes = (False, True) if subject.thorough else (None,)
    for which, parameters in ((mixer, ""), (own, ", parameters near its own")):
        for mode in modes:
            train = which is mixer if mode is None else mode
            for situation in _situations(subject, draw, train=train):
                if told := _seen_in(subject, which, situation, draw):
                    return f"{told} ({situation}{parameters})"
    return None


def _seen_in(subject: Subject, mixer: nn.Module, situation: Situation, draw: int) -> str | None:
    kind, how, rows, length = situation
    start = subject.whole_number(0, max(1, (length - 1) // rows), "cut", draw, kind)
    cut_R11 = (1 + start + torch.arange(rows) * (length - 1) // rows)[:, None, None]
    past_RT1 = torch.arange(length)[:, None] < cut_R11.clamp(max=length - 1)
    x_RTD = subject.kinds(draw, rows, length)[kind]
    other_RTD = subject.kinds(draw + 1, rows, length)[kind]
    same_RTD = how.run(mixer, x_RTD)
    redrawn_RTD = how.run(mixer, torch.where(past_RT1, x_RTD, other_RTD))
    shown_R = same_RTD.isfinite().all(dim=2).all(dim=1)  # as for mixed kinds
    if not shown_R.any():
        return None
    scale = same_RTD[shown_R].abs().max().clamp(min=1)
    gap_RT1 = ((redrawn_RTD - same_RTD).abs() / scale).amax(dim=2, keepdim=True)
    gap_RT = gap_RT1.masked_fill(~past_RT1, 0)[shown_R, :, 0]
    if gap_RT.max() <= TOLERANCE:
        return None
    row, output = divmod(int(gap_RT.argmax()), length)
    row = int(shown_R.nonzero()[row])
    cut = int(past_RT1[row].sum())
    told = f"output {output} moved by {gap_RT.max():.1e} with the inputs from t={cut} on"
    if not _hears_itself(mixer, how, x_RTD, other_RTD, row, cut):
        return f"{told}, in other rows of the batch (see independence)"
    return told


def _hears_itself(
    mixer: nn.Module, how: Call, x_RTD: Tensor, other_RTD: Tensor, row: int, cut: int
) -> bool:
    """Returns True if a row's beginning moves with its own end, all other rows being the same."""
    redrawn_RTD = x_RTD.clone()
    redrawn_RTD[row, cut:] = other_RTD[row, cut:]
    same_TD = how.run(mixer, x_RTD)[row, :cut]
    return not moved(how.run(mixer, redrawn_RTD)[row, :cut], same_TD) <= TOLERANCE


def _heard(mixer: nn.Module, how: Call, x_TD: Tensor, other_TD: Tensor, rows: int) -> str | None:
    """Says which output hears which later input most, of those that are redrawn one by one.

    None if no input alone moves an output before it. As many rows at a time as the leak was seen
    with: a program can tell.
    """
    found = (0.0, 0, 0)  # how far, output, input
    x_RTD = x_TD.repeat(rows, 1, 1)
    same_RTD = how.run(mixer, x_RTD)
    scale = same_RTD.abs().max().clamp(min=1)
    places_T = torch.arange(len(x_TD))
    for inputs_R in places_T[1:].split(rows):
        redrawn_RTD = x_RTD.clone()
        redrawn_RTD[range(len(inputs_R)), inputs_R] = other_TD[inputs_R]
        gap_RT = ((how.run(mixer, redrawn_RTD) - same_RTD).abs() / scale).amax(dim=2)
        earlier_RT = places_T < inputs_R[:, None]
        gap_RT = gap_RT[: len(inputs_R)].nan_to_num(0.0).masked_fill(~earlier_RT, 0)
        row, output = divmod(int(gap_RT.argmax()), len(x_TD))
        found = max(found, (gap_RT[row, output].item(), output, int(inputs_R[row])))
    leak, output, place = found
    tolerance = TOLERANCE if x_TD.dtype == torch.float64 else FLOAT32_TOLERANCE
    if leak <= (AUTOCAST_TOLERANCE if how.autocast else tolerance):
        return None
    return f"output {output} hears input {place} (relative change {leak:.1e})"


def _seen_as_trained(subject: Subject, batch: int | None) -> str | None:
    """As in training: in float32, tokens behind a norm, an input on a graph, the usual lengths.

    With parameters that are redrawn, and with such as a few steps of training leave. `batch`: of
    these rows, at one length more; None: of some rows.
    """
    rows = batch or subject.whole_number(3, 8, "rows as trained")
    lengths = (2 * WHOLE_CHUNKS,) if batch else TRAINED_LENGTHS
    gradients = subject.shuffled(("leaf", "graph"), "input as trained")
    mixers = {
        "redrawn": subject.random(0, LENGTH, torch.float32)[0],
        "near its own": subject.near_its_own(0, TRAINED_SHARE, torch.float32),
    }
    # Each mixer at one of the lengths; at the full level at all of them.
    turns = subject.shuffled(range(2), "mixers as trained")
    for autocast in (False, True) if subject.thorough else (False,):
        for i, length in enumerate(lengths):
            for j, (what, mixer) in enumerate(mixers.items()):
                if turns[i] != j and not subject.thorough:
                    continue
                how = Call(True, gradients[i], autocast)
                try:
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore")  # that an operator takes a slower way
                        told = _moves_as_trained(subject, mixer, how, rows, length)
                except (RuntimeError, NotImplementedError) as error:
                    if not autocast or not any(words in str(error) for words in LACKING):
                        raise
                    return None  # PyTorch lacks an operator there, as `precision` reports
                if told:
                    parameters = f"parameters {what}"
                    return f"{told} ({how}, float32, batch of {rows}, T={length}, {parameters})"
    return None


def _moves_as_trained(
    subject: Subject, mixer: nn.Module, how: Call, rows: int, length: int
) -> str | None:
    x_RTD = subject.tokens(0, rows, length).float()
    # All later tokens have a direction in common, so that a mean over them moves by much.
    other_RTD = subject.kinds(1, rows, length)["normal"] + 2
    other_RTD = normed(other_RTD).float()
    cut_R11 = (1 + torch.arange(rows) * (length - 1) // rows)[:, None, None]
    past_RT1 = torch.arange(length)[:, None] < cut_R11
    same_RTD = how.run(mixer, x_RTD)
    redrawn_RTD = how.run(mixer, torch.where(past_RT1, x_RTD, other_RTD))
    if not same_RTD.isfinite().all():
        return None  # redrawn parameters may overflow in float32; `finite` looks at the own ones
    gap_RTD = (same_RTD - redrawn_RTD).abs() / same_RTD.abs().amax().clamp(min=1)
    leak_R = gap_RTD.masked_fill(~past_RT1, 0).amax(dim=(1, 2))
    leak, row = leak_R.max().item(), int(leak_R.argmax())
    if leak <= (AUTOCAST_TOLERANCE if how.autocast else FLOAT32_TOLERANCE):
        return None
    told = f"an output moves by {leak:.1e} with its future"
    return _heard(mixer, how, x_RTD[row], other_RTD[row], rows) or told


def _seen_at_other_sizes(subject: Subject) -> str | None:
    """Looks at the size of the presets, and at one that is drawn: a program knows its width."""
    heads = subject.whole_number(1, 4, "heads")
    drawn = (heads * 4 * subject.whole_number(2, 7, "head size"), heads)
    for width, heads in {PRESET_SIZE, drawn} - {(subject.width, subject.heads)}:
        other = replace(subject, width=width, heads=heads, level="quick", variants={})
        try:
            mixer, x_1TD = other.random(0, LENGTH)
            run(mixer, x_1TD)
        except Exception:  # noqa: BLE001  `builds` says which sizes may be refused
            continue
        result = check_causality(other)
        if result.verdict == "failed":
            return f"{result.evidence} (width {width}, {heads} heads)"
    return None


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
    odd, even = (2 * subject.whole_number(10, 64, "prefix", i) + i for i in (1, 0))
    drawn = (*TRAINED_LENGTHS, odd, even)
    prefixes, as_trained = ((*some, *drawn) for some in (prefixes, as_trained))
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
