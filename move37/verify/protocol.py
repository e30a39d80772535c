"""What a mixer offers beyond `forward`: documents, padding, decoding, chunks. Not offered is no
failure.

Shape letters: B batch, T time, D model width.
"""

import copy
import functools
import inspect
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from move37.nn.counting import state_sizes
from move37.records import CheckResult
from move37.verify.interface import SHUT, with_biases
from move37.verify.subject import (
    TOLERANCE,
    Subject,
    draws,
    failed,
    moved,
    not_implemented,
    not_offered,
    offers_decoding,
    offers_documents,
    offers_mask,
    passed,
    run,
    set_dice,
)

LENGTH = 67
SATURATED_LENGTH = 19
LARGE = 30.0  # inputs of this size hold gates open or shut, also where there are no biases
# Sums in bfloat16 stop at some 256 times what is added; bench/decoding.py has the usual errors.
DRIFT_LENGTH, DRIFT, HALF_ROUNDING = 1100, 3.0, 2**-8
FULL_LENGTH = 307  # of decoding: a window is longer than LENGTH now and then
BORDERS = (5, 6, 40)  # a document of one token among them
MORE = (6, 12)  # borders of the row with more documents, at least and less than
REAL = (LENGTH, 41, 3)  # tokens of each padded row
CHUNKS = (16, 32, 64, 128)
# Options and attributes that say how long a chunk is.
CHUNK_NAMES = ("chunk", "chunk_size", "chunk_len", "chunk_length")


# By these arguments forwards of other interfaces take what was kept of earlier tokens.
CACHES = ("past_key_values", "past_key_value", "use_cache", "inference_params", "cache", "state")


def _unless_not_implemented(
    name: str, check: Callable[[Subject], CheckResult]
) -> Callable[[Subject], CheckResult]:
    """Returns a check that takes NotImplementedError for an answer: it is not offered."""

    @functools.wraps(check)
    def checked(subject: Subject) -> CheckResult:
        try:
            return check(subject)
        except NotImplementedError as error:
            return not_implemented(name, error)

    return checked


@torch.no_grad()
def _documents(subject: Subject) -> CheckResult:
    """Documents packed into one row give what they give apart; borders differ between rows."""
    if not offers_documents(subject.build()):
        return not_offered(
            "documents", "argument documents_BT (of a layer for fla: cu_seqlens) in its forward"
        )
    mixer, x_1TD = subject.random(0, LENGTH)
    x_BTD = torch.cat([x_1TD, subject.inputs(0, 2, LENGTH)])
    places_T = torch.arange(LENGTH)
    mirrored = tuple(LENGTH - border for border in reversed(BORDERS))
    drawn = subject.shuffled(range(1, LENGTH), "borders")[: subject.whole_number(*MORE, "more")]
    rows = (BORDERS, mirrored, tuple(sorted(drawn)))
    documents_BT = torch.stack(
        [torch.bucketize(places_T, torch.tensor(borders), right=True) for borders in rows]
    )
    for mode in _modes(mixer, x_BTD):
        packed_BTD = run(mixer, x_BTD, documents_BT)
        for row, borders in enumerate(rows):
            edges = [0, *borders, LENGTH]
            for start, end in pairwise(edges):
                apart_BTD = run(mixer, x_BTD[row : row + 1, start:end])
                gap = moved(packed_BTD[row : row + 1, start:end], apart_BTD)
                if not gap <= TOLERANCE:
                    told = f"the document at {start}..{end - 1} moves by {gap:.1e}"
                    return failed("documents", f"{told} when packed with others ({mode} mode)")
    for what, saturated, scale in _saturated(subject):
        gap = _moved_by_packing(saturated, scale * x_1TD, documents_BT[:1])
        if not gap <= TOLERANCE:
            return failed("documents", f"packed documents move by {gap:.1e} {what}")
    return passed("documents", f"{len(edges) - 1} packed documents equal the documents apart")


def _saturated(subject: Subject) -> Iterator[tuple[str, nn.Module, float]]:
    """Yields mixers whose gates are saturated, and by what the inputs are scaled for that.

    A floor, or a clamp, does nothing elsewhere. Where outputs are not finite, `finite` says so.
    """
    for bias in (SHUT, -SHUT):
        mixer = with_biases(subject.build(dtype=torch.float64).eval(), bias)
        yield f"where all biases are {bias:g}", mixer, 1.0
    mixer = subject.build(dtype=torch.float64).eval()
    yield f"for inputs scaled by {LARGE:g}", mixer, LARGE


def _moved_by_packing(mixer: nn.Module, x_1TD: Tensor, documents_1T: Tensor) -> float:
    """Returns the largest difference between packed documents and the documents apart."""
    packed_1TD = run(mixer, x_1TD, documents_1T)
    if not packed_1TD.isfinite().all():
        return 0.0
    sizes = documents_1T[0].unique_consecutive(return_counts=True)[1].tolist()
    apart_1TD = torch.cat([run(mixer, document) for document in x_1TD.split(sizes, dim=1)], dim=1)
    return moved(packed_1TD, apart_1TD)


def _modes(mixer: nn.Module, x_BTD: Tensor) -> Iterator[str]:
    """Puts the mixer into eval mode and, where that draws no dice, into train mode, in turn."""
    for mode in ("eval", "train"):
        mixer.train(mode == "train")
        if mode == "eval" or not draws(mixer, x_BTD):
            yield mode


@torch.no_grad()
def _padding(subject: Subject) -> CheckResult:
    """A row that is padded, left or right, gives what it gives alone.

    Padding is told by a mask, where the forward takes `mask_BT`, or else is a document of its own.
    """
    mixer = subject.build()
    masked = offers_mask(mixer)
    if not masked and not offers_documents(mixer):
        return not_offered(
            "padding", "argument mask_BT (of a layer for fla: attention_mask) or documents_BT"
        )
    mixer, x_1TD = subject.random(0, LENGTH)
    rows = [x_1TD[:, :real] for real in REAL]
    for mode in _modes(mixer, x_1TD):
        before = [run(mixer, row)[0] for row in rows]
        outputs = []
        for side in ("left", "right"):
            padded, masks = zip(*(_padded(row, side) for row in rows), strict=True)
            x_BTD, mask_BT = torch.cat(padded), torch.cat(masks)
            # Documents are numbered in any order.
            for mark_BT in [mask_BT] if masked else [mask_BT.long(), 1 - mask_BT.long()]:
                set_dice(0)
                y_BTD = mixer(x_BTD.clone(), **{"mask_BT" if masked else "documents_BT": mark_BT})
                outputs.append((side, y_BTD, mask_BT))
        # Once more: a mask may be kept.
        for alone in (before, [run(mixer, row)[0] for row in rows]):
            for side, y_BTD, mask_BT in outputs:
                for alone_TD, y_TD, mask_T in zip(alone, y_BTD, mask_BT, strict=True):
                    gap = moved(y_TD[mask_T], alone_TD)
                    if not gap <= TOLERANCE:
                        told = f"a row of {len(alone_TD)} tokens moves by {gap:.1e}"
                        told += f" when it is padded on the {side} to {LENGTH} ({mode} mode)"
                        told += "" if masked else ", as a document of its own (see documents)"
                        return failed("padding", told)
    return passed("padding", f"rows padded left and right to {LENGTH} equal the rows alone")


def _padded(row_1TD: Tensor, side: str) -> tuple[Tensor, Tensor]:
    """Returns the row and its mask, filled up to LENGTH with something that would show."""
    missing = (1, LENGTH - row_1TD.shape[1])
    filling_1TD = row_1TD.new_full((*missing, row_1TD.shape[2]), 3.0)
    token_1T = torch.ones(row_1TD.shape[:2], dtype=torch.bool)
    none_1T = torch.zeros(missing, dtype=torch.bool)
    if side == "left":
        return torch.cat([filling_1TD, row_1TD], 1), torch.cat([none_1T, token_1T], 1)
    return torch.cat([row_1TD, filling_1TD], 1), torch.cat([token_1T, none_1T], 1)


@torch.no_grad()
def _decoding(subject: Subject) -> CheckResult:
    """Token by token gives what all at once gives; a state can be copied, and goes on from there.

    Reports whether the state grows.
    """
    if not offers_decoding(subject.build()):
        return _other_cache(subject.build()) or not_offered("decoding", "initial_state and step")
    length = FULL_LENGTH if subject.thorough else LENGTH
    mixer, x_1TD = subject.random(0, length)
    x_BTD = torch.cat([x_1TD, x_1TD.flip(1)])
    whole_BTD = run(mixer, x_BTD)
    decoder: Any = mixer
    # Two sequences side by side, the second one token behind: what a mixer keeps in itself
    # instead of in the state that it returns gets mixed up. Half way, a copy takes over.
    states = [decoder.initial_state(2), decoder.initial_state(2)]
    outputs: list[list[Tensor]] = [[], []]
    for t in range(length + 1):
        if t == length // 2:
            states = copy.deepcopy(states)
        for i, place in enumerate((t, t - 1)):
            if 0 <= place < length:
                x_BD = x_BTD[:, place] if i == 0 else x_BTD[:, place].flip(0)
                y_BD, states[i] = decoder.step(x_BD.clone(), states[i])
                outputs[i].append(y_BD)
    for leaf in tree_leaves(states[0]):
        if not (leaf is None or isinstance(leaf, Tensor | bool | int | float)):
            told = f"the state holds a {type(leaf).__name__}: expected tensors and numbers, in "
            return failed("decoding", told + "tuples, lists and dicts")
    first_BTD, second_BTD = (torch.stack(one, dim=1) for one in outputs)
    gap = moved(first_BTD, whole_BTD)
    if not gap <= TOLERANCE:
        each = (moved(first_BTD[:, t], whole_BTD[:, t]) for t in range(length))
        first = next((t for t, one in enumerate(each) if not one <= TOLERANCE), 0)
        told = f"token by token the outputs move by {gap:.1e}, from t={first} on"
        return failed("decoding", told)
    gap = moved(second_BTD, whole_BTD.flip(0))
    if not gap <= TOLERANCE:
        return failed("decoding", f"two sequences decoded side by side move by {gap:.1e}")
    for what, saturated, scale in _saturated(subject):
        gap = _moved_by_decoding(saturated, scale * subject.inputs(1, 2, SATURATED_LENGTH))
        if not gap <= TOLERANCE:
            return failed("decoding", f"token by token the outputs move by {gap:.1e} {what}")
    if subject.thorough and (drift := _drifts_in_half_precision(subject)):
        return failed("decoding", drift)
    early, late = state_sizes(mixer.float(), width=subject.width, tokens=(80, 160))
    size = f"a state of {late:,} bytes" if late == early else f"a state that grows, {late:,} bytes"
    return passed("decoding", f"{length} steps equal one forward, also two at a time; {size}")


def _moved_by_decoding(mixer: Any, x_BTD: Tensor) -> float:
    """Returns the largest difference between decoding and the forward pass."""
    whole_BTD, state, outputs = run(mixer, x_BTD), mixer.initial_state(len(x_BTD)), []
    if not whole_BTD.isfinite().all():
        return 0.0
    for x_BD in x_BTD.unbind(1):
        y_BD, state = mixer.step(x_BD.clone(), state)
        outputs.append(y_BD)
    return moved(torch.stack(outputs, dim=1), whole_BTD)


def _drifts_in_half_precision(subject: Subject) -> str | None:
    """Returns how far decoding in bfloat16 drifts from the forward pass, if that is too far.

    A state in the type of the weights loses each new token once some hundred are added up. Both
    are compared with float64, for weights and inputs that bfloat16 holds exactly.
    """
    half: Any = subject.build().bfloat16().eval()
    exact = subject.build().bfloat16().double().eval()
    x_1TD = torch.randn(1, DRIFT_LENGTH, subject.width, generator=subject.dice()).bfloat16()
    try:
        forward_1TD = run(half, x_1TD)
    except (RuntimeError, NotImplementedError):
        return None  # `precision` says which operators PyTorch lacks in bfloat16
    expected_1TD, state, outputs = run(exact, x_1TD.double()), half.initial_state(1), []
    for x_1D in x_1TD.unbind(1):
        y_1D, state = half.step(x_1D, state)
        outputs.append(y_1D)

    def error(y_1TD: Tensor) -> float:
        last_1TD = expected_1TD[:, -DRIFT_LENGTH // 8 :]
        gap_1TD = y_1TD[:, -DRIFT_LENGTH // 8 :].double() - last_1TD
        return float(gap_1TD.norm() / last_1TD.norm().clamp(min=1e-6))

    forward, step = error(forward_1TD), error(torch.stack(outputs, dim=1))
    if step <= DRIFT * max(forward, HALF_ROUNDING):
        return None
    return (
        f"in bfloat16, after {DRIFT_LENGTH:,} tokens, the error is {step:.1%} token by token and "
        f"{forward:.1%} all at once: keep what adds up in float32"
    )


def _other_cache(mixer: nn.Module) -> CheckResult | None:
    """Returns the verdict of a mixer that decodes by another interface than ours."""
    layer = getattr(mixer, "layer", mixer)  # of a layer with fla's interface
    found = [name for name in CACHES if name in inspect.signature(layer.forward).parameters]
    if not found:
        return None
    evidence = f"its forward takes {' and '.join(found)}; tried are initial_state and step only"
    return CheckResult("decoding", "not tried", evidence)


check_documents = _unless_not_implemented("documents", _documents)
check_padding = _unless_not_implemented("padding", _padding)
check_decoding = _unless_not_implemented("decoding", _decoding)


@torch.no_grad()
def check_chunking(subject: Subject) -> CheckResult:
    """The outputs do not depend on the size of the chunks, where there is one to choose.

    The constructor chooses it, or else an attribute.
    """
    random, x_1TD = subject.random(0, 2 * LENGTH)
    tried = []
    for where, mixer, scale in (("", random, 1.0), *_saturated(subject)):
        expected_1TD = run(mixer, scale * x_1TD)
        if where and not expected_1TD.isfinite().all():
            continue
        for what, other in _with_other_chunks(subject, mixer):
            if isinstance(other, str):
                return failed("chunking", f"{what} gives {other} another shape")
            gap = moved(run(other, scale * x_1TD), expected_1TD)
            if not gap <= TOLERANCE:
                told = f"with {what} the outputs move by {gap:.1e} {where}".rstrip()
                return failed("chunking", told)
            tried.append(what)
    if not tried:
        return not_offered("chunking", f"integer named {', '.join(CHUNK_NAMES)}")
    return passed("chunking", f"{', '.join(dict.fromkeys(tried))}: the same outputs")


def _with_other_chunks(subject: Subject, mixer: nn.Module) -> Iterator[tuple[str, nn.Module | str]]:
    """Yields what was chosen, and a mixer of the same parameters, or the one that cannot be."""
    names = set(CHUNK_NAMES)
    for what, make in subject.variants.items():
        if what.partition("=")[0] in CHUNK_NAMES:
            names.discard(what.partition("=")[0])
            try:
                other = make(subject.width, subject.heads)
            except Exception:  # noqa: BLE001  whatever a constructor says to a size that it refuses
                continue
            yield what, _like(mixer, other.double().eval())
    found = [(module, name) for module in mixer.modules() for name in names if name in vars(module)]
    found = [(module, name) for module, name in found if type(vars(module)[name]) is int]
    for size in CHUNKS if found else ():
        for module, name in found:
            setattr(module, name, size)
        yield f"{found[0][1]}={size}", mixer


def _like(mixer: nn.Module, other: nn.Module) -> nn.Module | str:
    """Returns the other with the first one's numbers, or the parameter that has another shape.

    A buffer may have one: a mask of the size of a chunk.
    """
    own, theirs = mixer.state_dict(), other.state_dict()
    same = {name: x for name, x in own.items() if name in theirs and x.shape == theirs[name].shape}
    other.load_state_dict(same, strict=False)
    return next((name for name, _ in other.named_parameters() if name not in same), other)
