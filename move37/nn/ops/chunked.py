"""The same operators, parallel over chunks of time.

Within a chunk everything is a matrix product; from chunk to chunk only the state passes, so
time is linear in T. All exponents are differences of cumulated log decays with the later
position first, hence never positive: nothing overflows, however strong the decay.

What autograd would make slow (the loop over chunks, the triangular system, the decays between all
pairs) has its backward pass written by hand, beside the plain form that says what it computes.
The plain form is used where gradients of gradients are asked for, in the transforms of torch.func
and in forward-mode differentiation.

Under a compiler or `torch.export` chunks have one size, and the loop over chunks is one operator:
one graph serves all lengths.

Shape letters: B batch, N chunks, C positions in a chunk, T = N C time, H heads, M = B H,
K key size, V value size, D width, W window. See `reference` for the definitions.
"""

import functools
import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from move37.nn.ops.reference import in_turn

CHUNK = 32
# Smaller triangles are inverted row by row, larger ones from two halves.
SUBSTITUTED = 16
# On a CPU, what does not fit into the caches costs up to half as much time again: the operators
# work on so many numbers of q at a time, a few rows of the batch and a stretch of time.
NUMBERS_AT_A_TIME = 2**18
# The rows are cut before stretches become shorter than this.
STRETCH = 256

_Operator = TypeVar("_Operator", bound=Callable[..., Tensor])


class _Reach(NamedTuple):
    """Which positions of a chunk see each other, the state before it, and the state after it."""

    leaves: bool  # the state that leaves the last chunk will be read
    pairs: Tensor  # (N, M, C, C): i sees j, that is j <= i in the same document
    carried: Tensor | None  # (N, M, C, 1): i sees the state that enters the chunk
    kept: Tensor | None  # (N, M, C, 1): j is still there in the state that leaves the chunk
    passed: Tensor | None  # (N, M, 1, 1): so is the state that entered


def transformed() -> bool:
    """Returns True within a transform of torch.func and in forward-mode differentiation.

    The backward passes written by hand serve autograd alone, the plain forms serve all.
    """
    if torch.compiler.is_compiling():
        return False
    # PyTorch has no public way to ask.
    functions: bool = torch._C._are_functorch_transforms_active()
    return functions or forward_ad._current_level >= 0


def _in_pieces(q: Tensor) -> bool:
    # A compiler would write down the work on each piece, and take as many times as long.
    return q.device.type == "cpu" and not torch.compiler.is_compiling()


def _by_rows(operator: _Operator) -> _Operator:
    """The same for a few rows of the batch after the other, where all at once would be slower."""

    @functools.wraps(operator)
    def by_rows(q_BTHK: Tensor, *others: Any, **options: Any) -> Tensor:
        B, T, H, K = q_BTHK.shape
        rows = max(1, NUMBERS_AT_A_TIME // max(1, min(T, STRETCH) * H * K))
        if rows >= B or not _in_pieces(q_BTHK):
            return operator(q_BTHK, *others, **options)

        def cut(x: Any) -> Any:
            # Split, not sliced: the gradient of a slice is as large as the whole.
            return x.split(rows) if isinstance(x, Tensor) else [x] * math.ceil(B / rows)

        rest = zip(*map(cut, (*others, *options.values())), strict=True)
        outputs = []
        for q, given in zip(cut(q_BTHK), rest, strict=True):
            named = dict(zip(options, given[len(others) :], strict=True))
            outputs.append(operator(q, *given[: len(others)], **named))
        return torch.cat(outputs)

    return cast(_Operator, by_rows)


def _in_one_type(operator: _Operator) -> _Operator:
    """The same for inputs of several types, as autocast makes them: all take the widest one.

    In half precision the work is done in float32: a sum of log decays would lose the gentle ones.
    """

    @functools.wraps(operator)
    def in_one_type(*inputs: Any, **options: Any) -> Tensor:
        given = [x for x in (*inputs, *options.values()) if isinstance(x, Tensor)]
        device = given[0].device.type
        types = {x.dtype for x in given if x.is_floating_point()}
        automatic = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
        told = functools.reduce(torch.promote_types, types)
        wide = torch.promote_types(told, torch.float32)
        if types == {wide} and not automatic:
            return operator(*inputs, **options)

        def widened(x: Any) -> Any:
            return x.to(wide) if isinstance(x, Tensor) and x.is_floating_point() else x

        with torch.autocast(device, enabled=False):
            return operator(
                *map(widened, inputs), **{name: widened(x) for name, x in options.items()}
            ).to(told)

    return cast(_Operator, in_one_type)


def _apart(operator: _Operator) -> _Operator:
    """The same, except that what is not finite stays in its document.

    A sum over positions would spread it to all of them, seen or not, since 0 * NaN is NaN. So
    positions that hold something else than finite numbers are set to zero, and what sees them is
    NaN: the outputs of their document from there on, or within the window.
    """
    names = tuple(inspect.signature(operator).parameters)
    queries = names[0]

    @functools.wraps(operator)
    def apart(*inputs: Any, **options: Any) -> Tensor:
        given = dict(zip(names, inputs, strict=False)) | options
        documents_BT = given.get("documents_BT")
        if documents_BT is None:
            return operator(*inputs, **options)
        each = {name: x for name, x in given.items() if _has_positions(name, x)}
        if _certainly_finite(each[queries], each.values()):
            return operator(*inputs, **options)
        broken = {name: _not_finite(name, x) for name, x in each.items()}
        any_BT = functools.reduce(torch.logical_or, broken.values())
        for name, x in each.items():
            given[name] = x.masked_fill(any_BT.view(*any_BT.shape, *[1] * (x.ndim - 2)), 0)
        stored = (broken_BT for name, broken_BT in broken.items() if name != queries)
        bias_HW = given.get("bias_HW")
        window = None if bias_HW is None else bias_HW.shape[1]
        sees_BT = _sees(functools.reduce(torch.logical_or, stored), documents_BT, window)
        in_order = [given.pop(name) for name in names[: len(inputs)]]
        outputs = operator(*in_order, **given)
        return outputs.masked_fill((sees_BT | broken[queries])[..., None, None], torch.nan)

    return cast(_Operator, apart)


def _has_positions(name: str, x: Any) -> bool:
    per_position = "_BT" in name or name == "log_decay"
    return isinstance(x, Tensor) and per_position and name != "documents_BT"


def _certainly_finite(q: Tensor, inputs: Iterable[Tensor]) -> bool:
    """Returns True if the sum of each tensor is finite, where a value may be asked for.

    On a CPU this is cheap; elsewhere the answer would be waited for, or is not known yet.
    """
    if not _in_pieces(q) or transformed() or is_in_torch_dispatch_mode():
        return False
    return all(math.isfinite(x.detach().sum().item()) for x in inputs)


def _not_finite(name: str, x: Tensor) -> Tensor:
    """Returns which positions, (B, T), hold NaN or an infinity; a log decay may be -inf."""
    x = x.detach()
    finite = x < torch.inf if name.startswith("log_") else x.isfinite()
    return ~(finite if x.ndim == 2 else finite.flatten(2).all(dim=-1))


def _sees(positions_BT: Tensor, documents_BT: Tensor, window: int | None) -> Tensor:
    """Returns which positions see one of the given ones: it is in their document, not later, and
    within the window."""
    total_BT = positions_BT.cumsum(dim=1)
    before_BT = total_BT - positions_BT.long()
    starts_BT = documents_BT != documents_BT.roll(1, dims=1)
    unseen_BT = (before_BT * starts_BT).cummax(dim=1).values  # those before the document
    if window is not None:
        earlier_BT = F.pad(total_BT, (window, 0))[:, : total_BT.shape[1]]
        unseen_BT = torch.maximum(unseen_BT, earlier_BT)
    return total_BT > unseen_BT


@_in_one_type
@_apart
@_by_rows
def linear_attention(
    q_BTHK: Tensor,
    k_BTHK: Tensor,
    v_BTHV: Tensor,
    log_decay: Tensor | None = None,
    documents_BT: Tensor | None = None,
    *,
    chunk: int | None = None,
) -> Tensor:
    """See `reference.linear_attention`; `chunk` is the size of a chunk, for tests."""
    return _recurrence(q_BTHK, k_BTHK, v_BTHV, None, log_decay, documents_BT, chunk)


@_in_one_type
@_apart
@_by_rows
def delta_rule(
    q_BTHK: Tensor,
    k_BTHK: Tensor,
    v_BTHV: Tensor,
    beta_BTH: Tensor,
    log_decay: Tensor | None = None,
    documents_BT: Tensor | None = None,
    *,
    chunk: int | None = None,
) -> Tensor:
    """See `reference.delta_rule`; `chunk` is the size of a chunk, for tests."""
    return _recurrence(q_BTHK, k_BTHK, v_BTHV, beta_BTH, log_decay, documents_BT, chunk)


@_in_one_type
@_apart
@_by_rows
def generalized_delta_rule(
    q_BTHK: Tensor,
    k_BTHK: Tensor,
    v_BTHV: Tensor,
    erase_BTHK: Tensor,
    write_BTHK: Tensor,
    log_decay_BTHK: Tensor,
    documents_BT: Tensor | None = None,
    *,
    chunk: int | None = None,
) -> Tensor:
    """See `reference.generalized_delta_rule`; `chunk` is the size of a chunk, for tests.

    What each position erases, u = S erase, is a value beside v, and write is its key beside k: a
    triangular system gives u for all positions, then values and keys of both kinds pass through
    the chunks as in linear attention.
    """
    inputs = (q_BTHK, k_BTHK, v_BTHV, erase_BTHK, write_BTHK, limited(log_decay_BTHK))
    C = _chunk(q_BTHK.shape[1], chunk, halved=True)
    return _by_stretches(_generalized_stretch, inputs, documents_BT, C)


def _generalized_stretch(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    erase: Tensor,
    write: Tensor,
    log_decay: Tensor,
    reach: _Reach,
    S: Tensor | None,
) -> tuple[Tensor, Tensor | None]:
    g = log_decay.cumsum(dim=-2)
    before = _later(g, 0.0)  # up to the position, its own decay left out

    # Each of two kinds of row with each of two kinds of column. What is erased was there before:
    # its row is that of the position before, and then moved to its own.
    rows, columns = torch.stack([q, _sooner(erase)])[:, None], torch.stack([k, write])[None]
    kinds_g = g[None, None]
    read, erased = _channel_pairs(rows, columns, kinds_g, kinds_g, reach.pairs).unbind()
    erased = _later(erased, 0.0) * reach.pairs
    (read_v, read_u), (erase_v, erase_u) = read.unbind(), erased.unbind()
    right, through = _to_the_end(g), g[..., -1:, :].exp().transpose(-1, -2)
    q_in, erase_in = q * g.exp(), erase * before.exp()
    k_out, write_out = k * right, write * right
    if reach.carried is not None:
        q_in, erase_in = q_in * reach.carried, erase_in * reach.carried
    if reach.kept is not None:
        k_out, write_out = k_out * reach.kept, write_out * reach.kept
    if reach.passed is not None:
        through = through * reach.passed.to(k.dtype)

    # (I - erase_u) u = erase_v v + erase_in S
    right_side = torch.cat([erase_v @ v, erase_in], dim=-1)
    solved = _solve(-erase_u, right_side)
    u, w = solved.split([v.shape[-1], k.shape[-1]], dim=-1)
    return _scan(
        torch.cat([read_v, read_u], dim=-1),
        torch.cat([v, u], dim=-2),
        torch.cat([torch.zeros_like(w), -w], dim=-2),
        q_in,
        torch.cat([k_out, write_out], dim=-2),
        through,
        S,
        reach.leaves,
    )


@_in_one_type
@_apart
@_by_rows
def momentum_delta_rule(
    q_BTHK: Tensor,
    k_BTHK: Tensor,
    v_BTHV: Tensor,
    beta_BTH: Tensor,
    log_momentum_BTH: Tensor,
    log_decay_BTH: Tensor,
    documents_BT: Tensor | None = None,
    *,
    chunk: int | None = None,
) -> Tensor:
    """See `reference.momentum_delta_rule`; `chunk` is the size of a chunk, for tests.

    What is written at j stands in S_i by the sum over m of (decay from m to i) (momentum from j
    to m): a product of two triangles. With it all is as in the delta rule, for the memory (S, M).
    """
    each = (beta_BTH, limited(log_momentum_BTH), limited(log_decay_BTH))
    inputs = (q_BTHK, k_BTHK, v_BTHV, *(x[..., None] for x in each))
    C = _chunk(q_BTHK.shape[1], chunk, halved=False)
    return _by_stretches(_momentum_stretch, inputs, documents_BT, C)


def _momentum_stretch(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    log_momentum: Tensor,
    log_decay: Tensor,
    reach: _Reach,
    memory: Tensor | None,
) -> tuple[Tensor, Tensor | None]:
    ga, gm = log_decay.cumsum(dim=-2), log_momentum.cumsum(dim=-2)
    decay_CC, momentum_CC = (_own_apart(g, reach.pairs) for g in (ga, gm))
    both_CC = decay_CC @ momentum_CC
    # What of S and of M as they enter is in S at each position, (N, M, C, 1).
    of_S, of_M = ga.exp(), decay_CC @ gm.exp()
    end_S, end_M = of_S[..., -1:, :], of_M[..., -1:, :]
    end_momentum = gm[..., -1:, :].exp()
    before_S, before_M = _later(of_S, 1.0), _later(of_M, 0.0)
    k_in = torch.cat([k * before_S, k * before_M], dim=-1)
    q_in = torch.cat([q * of_S, q * of_M], dim=-1)
    if reach.carried is not None:
        k_in, q_in = k_in * reach.carried, q_in * reach.carried
    if reach.passed is not None:
        end_S, end_M, end_momentum = (x * reach.passed for x in (end_S, end_M, end_momentum))

    kT = k.transpose(-1, -2)
    among = (k @ kT) * _later(both_CC, 0.0) * reach.pairs
    right_side = torch.cat([beta * v, beta * k_in], dim=-1)
    solved = _solve((beta * among).tril(-1), right_side)
    u, w = solved.split([v.shape[-1], 2 * k.shape[-1]], dim=-1)
    read = (q @ kT) * both_CC
    to_S, to_M = (kT * x[..., -1:, :] for x in (both_CC, momentum_CC))

    return _scan(
        read,
        u,
        w,
        q_in,
        torch.cat([to_S, to_M], dim=-2).transpose(-1, -2),
        torch.cat([x.expand(-1, -1, k.shape[-1], 1) for x in (end_S, end_momentum)], dim=-2),
        memory,
        reach.leaves,
        across=end_M,
    )


def _to_the_end(g: Tensor) -> Tensor:
    """exp(g_C - g_j): what is left of each position at the end of its chunk.

    All of the last one, without a difference: its gradients cancel, and in float32 what is small
    beside them would be lost.
    """
    return torch.cat(
        [(g[..., -1:, :] - g[..., :-1, :]).exp(), torch.ones_like(g[..., -1:, :])], dim=-2
    )


def _later(x: Tensor, first: float) -> Tensor:
    """Moves what stands at each position (dimension -2) to the next one."""
    return torch.cat([torch.full_like(x[..., :1, :], first), x[..., :-1, :]], dim=-2)


def _sooner(x: Tensor) -> Tensor:
    """Moves what stands at each position (dimension -2) to the one before, zeros to the last."""
    return torch.cat([x[..., 1:, :], torch.zeros_like(x[..., :1, :])], dim=-2)


def limited(log_decay: Tensor) -> Tensor:
    """What is forgotten below the rounding of S is forgotten: a larger sum of log decays would
    only cost the gentle decays beside it their last digits.
    """
    return log_decay.clamp(min=2 * math.log(torch.finfo(log_decay.dtype).eps))


def _reaches(
    documents_BT: Tensor | None, cut: list[int], C: int, H: int, device: torch.device
) -> Iterator[_Reach]:
    """Of each stretch, `cut` in chunks of C."""
    causal_CC = torch.ones(C, C, dtype=torch.bool, device=device).tril()
    more = [True] * (len(cut) - 1) + [False]
    if documents_BT is None:
        yield from (_Reach(leaves, causal_CC[None, None], None, None, None) for leaves in more)
        return
    documents_BT = in_turn(documents_BT)
    missing = sum(cut) * C - documents_BT.shape[1]
    last_B1 = documents_BT[:, -1:]
    documents_BT = torch.cat([documents_BT, last_B1.expand(-1, missing)], dim=1)
    documents_NMC = documents_BT.unflatten(1, (-1, C)).transpose(0, 1).repeat_interleave(H, dim=1)
    before_NM = documents_NMC[:, :, -1].roll(1, dims=0)  # before the first there is no state
    parts = zip(more, documents_NMC.split(cut), before_NM.split(cut), strict=True)
    for leaves, own_NMC, before_NM in parts:
        same_NMCC = own_NMC[..., :, None] == own_NMC[..., None, :]
        carried_NMC = own_NMC == before_NM[..., None]
        kept_NMC = own_NMC == own_NMC[..., -1:]
        yield _Reach(
            leaves,
            causal_CC & same_NMCC,
            carried_NMC[..., None],
            kept_NMC[..., None],
            carried_NMC[..., -1:, None],
        )


def _chunk(T: int, chunk: int | None, *, halved: bool) -> int:
    """Returns the size of chunks: equal ones, so that little is padded."""
    if torch.compiler.is_compiling():
        return chunk or CHUNK  # one graph for all lengths
    N = math.ceil(T / (chunk or CHUNK))
    C = math.ceil(T / N)
    if halved and chunk is None and C > 8:
        C = 8 * math.ceil(C / 8)  # can be halved three times
    return C


def _chunks(T: int, C: int) -> int:
    """Returns how many chunks of C hold T positions.

    For a compiler one or two more: asked whether one chunk is enough, or whether anything is
    missing in the last, it would make a graph for each answer.
    """
    return T // C + 2 if torch.compiler.is_compiling() else math.ceil(T / C)


def _by_stretches(
    stretch: Callable[..., tuple[Tensor, Tensor | None]],
    inputs: Sequence[Tensor | None],
    documents_BT: Tensor | None,
    C: int,
) -> Tensor:
    """Returns what `stretch` gives for one stretch of time after the other, (B, T, H, V).

    It takes the inputs as chunks (N, M, C, .), their `_Reach`, and the state that enters, at first
    None; it returns the outputs (N, M, C, V) and the state that leaves.
    """
    q_BTHK = inputs[0]
    assert q_BTHK is not None
    B, T, H, K = q_BTHK.shape
    N = _chunks(T, C)
    cut = [N]
    if _in_pieces(q_BTHK):
        at_once = max(1, NUMBERS_AT_A_TIME // max(1, B * C * H * K))
        cut = [at_once] * (N // at_once) + [N % at_once] * (N % at_once > 0)
    reaches = _reaches(documents_BT, cut, C, H, q_BTHK.device)

    def chunks(part: Iterable[Tensor | None]) -> list[Tensor | None]:
        return [None if x is None else _split(x, C) for x in part]

    if len(cut) == 1:
        o, _ = stretch(*chunks(inputs), next(reaches), None)
        return _join(o, B)[:, :T]
    # Split, not sliced: the gradient of a slice is as large as the whole.
    parts = zip(
        *([None] * len(cut) if x is None else x.split(at_once * C, dim=1) for x in inputs),
        strict=True,
    )
    S, outputs = None, []
    for part, reach in zip(parts, reaches, strict=True):
        o, S = stretch(*chunks(part), reach, S)
        outputs.append(_join(o, B))
    return torch.cat(outputs, dim=1)[:, :T]


def _split(x: Tensor, C: int) -> Tensor:
    """(B, T, H, X) -> (N, M, C, X), zeros appended up to T = N C."""
    B, T, H, X = x.shape
    N = _chunks(T, C)
    if torch.compiler.is_compiling():
        x = F.pad(x, (0, 0, 0, 0, 0, N * C - T))
        return x.reshape(B, N, C, H, X).permute(1, 0, 3, 2, 4).reshape(N, B * H, C, X)
    if missing := N * C - T:
        x = torch.cat([x, x.new_zeros(B, missing, H, X)], dim=1)
    return x.unflatten(1, (N, C)).permute(1, 0, 3, 2, 4).flatten(1, 2)


def _join(x: Tensor, B: int) -> Tensor:
    """(N, M, C, X) -> (B, N C, H, X)."""
    N, M, C, X = x.shape
    return x.unflatten(1, (B, -1)).permute(1, 0, 3, 2, 4).reshape(B, N * C, M // B, X)


def _recurrence(
    q_BTHK: Tensor,
    k_BTHK: Tensor,
    v_BTHV: Tensor,
    beta_BTH: Tensor | None,
    log_decay: Tensor | None,
    documents_BT: Tensor | None,
    chunk: int | None,
) -> Tensor:
    channelwise = log_decay is not None and log_decay.ndim == 4
    if log_decay is not None:
        log_decay = limited(log_decay if channelwise else log_decay[..., None])
    beta = None if beta_BTH is None else beta_BTH[..., None]
    C = _chunk(q_BTHK.shape[1], chunk, halved=channelwise)
    stretch = functools.partial(_stretch, channelwise=channelwise)
    return _by_stretches(stretch, (q_BTHK, k_BTHK, v_BTHV, beta, log_decay), documents_BT, C)


def _stretch(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor | None,
    log_decay: Tensor | None,
    reach: _Reach,
    S: Tensor | None,
    *,
    channelwise: bool,
) -> tuple[Tensor, Tensor | None]:
    # g: log decay from the start of the chunk to each position, that position's own included.
    # left = exp(g) takes the entering state to i; right = exp(g_C - g) takes j to the end.
    g = through = None
    k_in = k_out = k
    q_in = q
    if log_decay is not None:
        g = log_decay.cumsum(dim=-2)
        left, right = g.exp(), _to_the_end(g)
        through = g[..., -1:, :].exp().transpose(-1, -2)  # (N, M, K or 1, 1)
        k_in, k_out, q_in = k * left, k * right, q * left
    if reach.carried is not None:
        k_in, q_in = k_in * reach.carried, q_in * reach.carried
    if reach.kept is not None:
        k_out = k_out * reach.kept
    if reach.passed is not None:
        passed = reach.passed.to(k.dtype)
        through = passed if through is None else through * passed

    if channelwise:
        assert g is not None
        read = _channel_pairs(q, k, g, g, reach.pairs)
    if beta is None:
        if not channelwise:
            read = _scalar_pairs(q, k, g, reach.pairs)
        return _scan(read, v, None, q_in, k_out, through, S, reach.leaves)

    # (I + L) u = b (v - S k_in), L strictly lower: what each position writes after all earlier
    # writes of its chunk. Solved for all chunks at once, before the states.
    if channelwise:
        assert g is not None
        among = _channel_pairs(k, k, g, g, reach.pairs).tril(-1)
    else:
        read, among = _scalar_pairs_of_both(q, k, g, reach.pairs)
    right_side = torch.cat([beta * v, beta * k_in], dim=-1)
    solved = _solve(beta * among, right_side)
    u, w = solved.split([v.shape[-1], k.shape[-1]], dim=-1)
    return _scan(read, u, w, q_in, k_out, through, S, reach.leaves)


def _by_autograd(
    plain: Callable[..., Any], inputs: tuple[Any, ...], gradients: tuple[Tensor, ...]
) -> tuple[Tensor | None, ...]:
    """Returns the gradients of `plain` in a form that can be differentiated again."""
    with torch.enable_grad():
        # Aliases: an input that hangs on another one (k in k * exp(g)) would else count twice.
        own = [x.view_as(x) if isinstance(x, Tensor) else x for x in inputs]
        wanted = [x for x in own if isinstance(x, Tensor) and x.requires_grad]
        outputs = plain(*own)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        # The keys among themselves, say, need no gradient where only the queries do.
        pairs = zip(outputs, gradients, strict=True)
        used = [two for two in pairs if two[0] is not None and two[0].requires_grad]
        outputs, gradients = zip(*used, strict=True)
        # The last of a stretch reads no decay, nor what it keeps, where no state leaves.
        found = iter(
            torch.autograd.grad(outputs, wanted, gradients, create_graph=True, allow_unused=True)
        )
    return tuple(next(found) if isinstance(x, Tensor) and x.requires_grad else None for x in own)


# ---------------------------------------------------------------- pairs within a chunk


def _decay_between(g: Tensor, pairs: Tensor) -> Tensor:
    """exp(g_i - g_j) for each i that sees j, else 0: (..., C, C, K or 1)."""
    # Masked before exp: above the diagonal the difference is positive and could overflow.
    difference = g[..., :, None, :] - g[..., None, :, :]
    return difference.masked_fill(~pairs[..., None], -torch.inf).exp()


def _own_apart(g: Tensor, pairs: Tensor) -> Tensor:
    """The same, (..., C, C), with a constant one on the diagonal: see `_to_the_end`."""
    own_CC = torch.eye(g.shape[-2], dtype=g.dtype, device=g.device)
    return _decay_between(g, pairs.tril(-1))[..., 0] + own_CC


def _scalar_pairs(q: Tensor, k: Tensor, g: Tensor | None, pairs: Tensor) -> Tensor:
    """q_i . k_j exp(g_i - g_j) for each i that sees j, else 0; g is (N, M, C, 1)."""
    D = pairs if g is None else _own_apart(g, pairs)
    return (q @ k.transpose(-1, -2)) * D


def _plain_scalar_pairs(
    q: Tensor, k: Tensor, g: Tensor | None, pairs: Tensor
) -> tuple[Tensor, Tensor]:
    return _scalar_pairs(q, k, g, pairs), _scalar_pairs(k, k, g, pairs).tril(-1)


def _scalar_pairs_of_both(
    q: Tensor, k: Tensor, g: Tensor | None, pairs: Tensor
) -> tuple[Tensor, Tensor]:
    if transformed():
        return _plain_scalar_pairs(q, k, g, pairs)
    result: tuple[Tensor, Tensor] = _ScalarPairs.apply(q, k, g, pairs)  # type: ignore[no-untyped-call]
    return result


class _ScalarPairs(torch.autograd.Function):
    """The pairs of q with k, and of k with k below the diagonal."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, g: Tensor | None, pairs: Tensor
    ) -> tuple[Tensor, Tensor]:
        D = pairs if g is None else _decay_between(g, pairs)[..., 0]
        kT = k.transpose(-1, -2)
        read, among = (q @ kT).mul_(D), (k @ kT).mul_(D).tril_(-1)
        ctx.save_for_backward(q, k, g, pairs, D, read, among)
        return read, among

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        q, k, g, pairs, D, read, among = ctx.saved_tensors
        if torch.is_grad_enabled():
            return _by_autograd(_plain_scalar_pairs, (q, k, g, pairs), gradients)
        dread, damong = gradients
        dg = None
        if g is not None:  # exp(g_i) stands in row i, exp(-g_j) in column j
            # Without the diagonal, which cancels: what is small beside it would be lost.
            E = (dread * read).addcmul_(damong, among).tril_(-1)
            dg = (E.sum(dim=-1) - E.sum(dim=-2))[..., None]
        dread, damong = dread * D, (damong * D).tril_(-1)
        dk = damong @ k + damong.transpose(-1, -2) @ k + dread.transpose(-1, -2) @ q
        return dread @ k, dk, dg, None


def _plain_channel_pairs(q: Tensor, k: Tensor, gq: Tensor, gk: Tensor, pairs: Tensor) -> Tensor:
    """Sum over channels of q_i k_j exp(gq_i - gk_j) for each i that sees j, else 0.

    q, k, gq and gk are (..., C, K), where ... may broadcast; the exponent is never positive where
    i sees j.
    """
    # Masked before exp: above the diagonal the difference is positive and could overflow.
    difference = gq[..., :, None, :] - gk[..., None, :, :]
    D = difference.masked_fill(~pairs[..., None], -torch.inf).exp()
    return ((D * k[..., None, :, :]) @ q[..., :, :, None])[..., 0]


def _halves(C: int) -> list[int]:
    """The sizes of blocks that are halved, the largest first: 24 -> 24, 12, 6."""
    sizes = []
    while C % 2 == 0 and C > 2:
        sizes.append(C)
        C //= 2
    return sizes


def _on_the_diagonal(x: Tensor, size: int) -> Tensor:
    """(..., C, C) -> (..., C / size, size, size), a view of the blocks on the diagonal."""
    blocks = x.unflatten(-1, (-1, size)).unflatten(-3, (-1, size))
    return blocks.diagonal(dim1=-4, dim2=-2).movedim(-1, -3)


def _channel_pairs(q: Tensor, k: Tensor, gq: Tensor, gk: Tensor, pairs: Tensor) -> Tensor:
    if transformed():
        return _plain_channel_pairs(q, k, gq, gk, pairs)
    # Aliases: torch.compile refuses one tensor in two places.
    k, gk = k.view_as(k), gk.view_as(gk)
    result: Tensor = _ChannelPairs.apply(q, k, gq, gk, pairs)  # type: ignore[no-untyped-call]
    return result


class _ChannelPairs(torch.autograd.Function):
    """The same by halving, in C log C instead of C^2 exponentials per channel.

    In a block, the second half sees the first through the decay at their border: both exponents,
    from the border to i and from j to the border, are never positive, so each is a safe factor
    and the quarter is a matrix product. The two halves are blocks of half the size.

    Where i sees itself, gq_i and gk_i are one and the same number: what they add to its gradient
    cancels, and is left out, since what is small beside it would be lost in float32.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, gq: Tensor, gk: Tensor, pairs: Tensor) -> Tensor:
        ctx.save_for_backward(q, k, gq, gk, pairs)
        batch = torch.broadcast_shapes(*(x.shape[:-2] for x in (q, k, gq, gk)))
        P = q.new_zeros(*batch, q.shape[-2], q.shape[-2])
        for size, later, earlier in _levels(q, k, gq, gk):
            quarter = (later[0] * later[1]) @ (earlier[0] * earlier[1]).transpose(-1, -2)
            _on_the_diagonal(P, size)[..., size // 2 :, : size // 2] = quarter
        size = _smallest(q.shape[-2])
        qb, kb, D = _least(q, k, gq, gk, size)
        _on_the_diagonal(P, size)[...] = ((D * kb[..., None, :, :]) @ qb[..., :, :, None])[..., 0]
        return P.mul_(pairs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        q, k, gq, gk, pairs = ctx.saved_tensors
        if torch.is_grad_enabled():
            return _by_autograd(_plain_channel_pairs, (q, k, gq, gk, pairs), gradients)
        dP = gradients[0] * pairs
        diagonal = dP.diagonal(dim1=-2, dim2=-1)
        itself = diagonal.clone()[..., None]
        diagonal.zero_()
        dq, dk = torch.zeros_like(q), torch.zeros_like(k)
        for size, (q_later, left), (k_earlier, right) in _levels(q, k, gq, gk):
            dquarter = _on_the_diagonal(dP, size)[..., size // 2 :, : size // 2]
            dlater = (dquarter @ (k_earlier * right)).mul_(left)
            dearlier = (dquarter.transpose(-1, -2) @ (q_later * left)).mul_(right)
            later = dq.unflatten(-2, (-1, 2, size // 2))[..., 1, :, :]
            earlier = dk.unflatten(-2, (-1, 2, size // 2))[..., 0, :, :]
            later += dlater.sum_to_size(later.shape)
            earlier += dearlier.sum_to_size(earlier.shape)
        size = _smallest(q.shape[-2])
        qb, kb, D = _least(q, k, gq, gk, size)
        weighted = D * _on_the_diagonal(dP, size)[..., None]
        least_q, least_k = dq.unflatten(-2, (-1, size)), dk.unflatten(-2, (-1, size))
        least_q += (weighted * kb[..., None, :, :]).sum(dim=-2).sum_to_size(least_q.shape)
        least_k += (weighted * qb[..., :, None, :]).sum(dim=-3).sum_to_size(least_k.shape)
        # Each factor exp(gq_i) stands beside q_i, each exp(-gk_j) beside k_j.
        dgq, dgk = (q * dq).sum_to_size(gq.shape), (-k * dk).sum_to_size(gk.shape)
        dq += (itself * k).sum_to_size(dq.shape)
        dk += (itself * q).sum_to_size(dk.shape)
        return dq, dk, dgq, dgk, None


def _smallest(C: int) -> int:
    """The size of the blocks that are not halved any more."""
    sizes = _halves(C)
    return sizes[-1] // 2 if sizes else C


def _least(
    q: Tensor, k: Tensor, gq: Tensor, gk: Tensor, size: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The smallest blocks of q and k, and the decays of all their pairs, (..., size, size, K)."""
    qb, kb, gqb, gkb = (x.unflatten(-2, (-1, size)) for x in (q, k, gq, gk))
    # Where i does not see j the difference may be positive; what comes of it is masked later.
    return qb, kb, (gqb[..., :, None, :] - gkb[..., None, :, :]).clamp(max=0).exp()


_Side = tuple[Tensor, Tensor]


def _levels(q: Tensor, k: Tensor, gq: Tensor, gk: Tensor) -> Iterator[tuple[int, _Side, _Side]]:
    """Per size of block: q of the later halves and k of the earlier, each with its decay."""
    for size in _halves(q.shape[-2]):
        qb, kb, gqb, gkb = (x.unflatten(-2, (-1, 2, size // 2)) for x in (q, k, gq, gk))
        border = gkb[..., 0, -1:, :]
        left, right = (gqb[..., 1, :, :] - border).exp(), (border - gkb[..., 0, :, :]).exp()
        yield size, (qb[..., 1, :, :], left), (kb[..., 0, :, :], right)


# ---------------------------------------------------------------- the triangular system


def _plain_solve(L: Tensor, X: Tensor) -> Tensor:
    """(I + L)^-1 X for strictly lower L."""
    eye = torch.eye(L.shape[-1], dtype=L.dtype, device=L.device)
    return torch.linalg.solve_triangular(L + eye, X, upper=False, unitriangular=True)


def _solve(L: Tensor, X: Tensor) -> Tensor:
    if transformed():
        return _plain_solve(L, X)
    result: Tensor = _Solve.apply(L, X)  # type: ignore[no-untyped-call]
    return result


class _Solve(torch.autograd.Function):
    """The same with an explicit inverse, so that all is batched matrix products.

    A batch of small triangular systems runs far below the speed of the products.
    """

    @staticmethod
    def forward(ctx: Any, L: Tensor, X: Tensor) -> Tensor:
        inverse = _inverse(L)
        Y = inverse @ X
        ctx.save_for_backward(L, X, inverse, Y)
        return Y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        L, X, inverse, Y = ctx.saved_tensors
        if torch.is_grad_enabled():
            return _by_autograd(_plain_solve, (L, X), gradients)
        dX = inverse.transpose(-1, -2) @ gradients[0]
        return (dX @ Y.transpose(-1, -2)).neg_().tril_(-1), dX


def _inverse(L: Tensor) -> Tensor:
    """Returns (I + L)^-1 for strictly lower L (..., C, C).

    Diagonal blocks by forward substitution, then pairs of blocks: the inverse of (A 0; B D) is
    (A^-1 0; -D^-1 B A^-1 D^-1). Unlike a product of powers of L, nothing grows on the way.
    """
    shape, C = L.shape, L.shape[-1]
    size = C
    while size > SUBSTITUTED and size % 2 == 0:
        size //= 2
    L = L.reshape(-1, C, C)
    diagonal = [L[:, i : i + size, i : i + size] for i in range(0, C, size)]
    blocks = torch.stack(diagonal, dim=1)  # (M, C / size, size, size)
    inverse = torch.zeros_like(blocks)
    inverse.diagonal(dim1=-2, dim2=-1).fill_(1)
    for i in range(1, size):
        inverse[..., i, :i] = -(blocks[..., i, None, :i] @ inverse[..., :i, :i])[..., 0, :]
    while size < C:
        below = [L[:, i + size : i + 2 * size, i : i + size] for i in range(0, C, 2 * size)]
        A, D = inverse[:, 0::2], inverse[:, 1::2]
        larger = inverse.new_zeros(L.shape[0], C // (2 * size), 2 * size, 2 * size)
        larger[..., :size, :size] = A
        larger[..., size:, size:] = D
        larger[..., size:, :size] = -(D @ (torch.stack(below, dim=1) @ A))
        inverse, size = larger, 2 * size
    return inverse[:, 0].reshape(shape)


# ---------------------------------------------------------------- from chunk to chunk


def _scan(
    read: Tensor,
    u: Tensor,
    w: Tensor | None,
    q_in: Tensor,
    k_out: Tensor,
    through: Tensor | None,
    S: Tensor | None,
    leaves: bool,
    across: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Passes the state through the chunks; see `_plain_scan` for what it computes."""
    if torch.compiler.is_compiling():  # never in stretches
        assert S is None
        assert not leaves
        return _scan_as_operator(read, u, w, q_in, k_out, through, across)[0], None
    if u.shape[0] == 1 and S is None and not leaves:
        return read @ u, None
    inputs = (read, u, w, q_in, k_out, through, S, leaves, across)
    if transformed():
        return _plain_scan(*inputs)
    result: tuple[Tensor, Tensor | None] = _Scan.apply(*inputs)  # type: ignore[no-untyped-call]
    return result


def _plain_scan(
    read: Tensor,  # (N, M, C, C)
    u: Tensor,  # (N, M, C, V)
    w: Tensor | None,  # (N, M, C, K)
    q_in: Tensor,  # (N, M, C, K)
    k_out: Tensor,  # (N, M, C, K)
    through: Tensor | None,  # (N, M, K or 1, 1)
    S: Tensor | None,  # (M, K, V), what enters; None for zeros
    leaves: bool,  # whether the state at the end is returned
    across: Tensor | None = None,  # (N, M, 1, 1), of the second half of K to the first
) -> tuple[Tensor, Tensor | None]:
    """Per chunk: u <- u - w S;  o = q_in S + read u;  S <- through S + k_out^T u.

    With `across` S has two halves, of which the first gets across times the second as well.
    """
    if S is None:
        S = u.new_zeros(u.shape[1], k_out.shape[-1], u.shape[-1])
    outputs = []
    for n in range(u.shape[0]):
        u_n = u[n] if w is None else u[n] - w[n] @ S
        outputs.append(q_in[n] @ S + read[n] @ u_n)
        kept = S if through is None else through[n] * S
        if across is not None:
            second = S.chunk(2, dim=-2)[1]
            kept = kept + torch.cat([across[n] * second, torch.zeros_like(second)], dim=-2)
        S = kept + k_out[n].transpose(-1, -2) @ u_n
    return torch.stack(outputs), S if leaves else None


def _scanned(
    read: Tensor,
    u: Tensor,
    w: Tensor | None,
    q_in: Tensor,
    k_out: Tensor,
    through: Tensor | None,
    first: Tensor | None,
    leaves: bool,
    across: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the outputs, the states (N or N + 1, M, K, V), and u as it is written."""
    N, M, _, V = u.shape
    # The states that enter the chunks, and the one that leaves the last.
    S = u.new_empty(N + leaves, M, k_out.shape[-1], V)
    S[0] = 0 if first is None else first
    written = u if w is None else torch.empty_like(u)
    k_outT = k_out.transpose(-1, -2)
    for n in range(N):
        if w is not None:
            torch.baddbmm(u[n], w[n], S[n], alpha=-1, out=written[n])
        if n + 1 < len(S):
            kept = S[n] if through is None else S[n] * through[n]
            if across is not None:
                _halves_of(kept)[0].addcmul_(_halves_of(S[n])[1], across[n])
            torch.baddbmm(kept, k_outT[n], written[n], out=S[n + 1])
    return (q_in @ S[:N]).add_(read @ written), S, written


def _scanned_back(
    do: Tensor,
    dlast: Tensor | None,
    read: Tensor,
    w: Tensor | None,
    q_in: Tensor,
    k_out: Tensor,
    through: Tensor | None,
    across: Tensor | None,
    S: Tensor,  # (N, M, K, V)
    written: Tensor,
    *,
    first: bool,
) -> tuple[Tensor | None, ...]:
    """Returns the gradients of read, u, w, q_in, k_out, through, first and across.

    Runs the chunks once, from the last to the first.
    """
    N = do.shape[0]
    du = read.transpose(-1, -2) @ do
    own = q_in.transpose(-1, -2) @ do  # gradient of the entering state, by its own chunk
    # Gradients of the state that enters the first chunk, and of those that leave each.
    around = torch.empty(N + 1, *S.shape[1:], dtype=S.dtype, device=S.device)
    after = around[1:]
    after[N - 1] = 0 if dlast is None else dlast
    for n in range(N - 1, -1, -1):
        du[n].baddbmm_(k_out[n], after[n])
        if n or first:
            earlier = around[n]
            if through is None:
                torch.add(own[n], after[n], out=earlier)
            else:
                torch.addcmul(own[n], after[n], through[n], out=earlier)
            if across is not None:
                _halves_of(earlier)[1].addcmul_(_halves_of(after[n])[0], across[n])
            if w is not None:
                earlier.baddbmm_(w[n].transpose(-1, -2), du[n], alpha=-1)
    dthrough = dacross = None
    if through is not None:
        dthrough = (S * after).sum(dim=-1, keepdim=True)
        if through.shape[-2] == 1:
            dthrough = dthrough.sum(dim=-2, keepdim=True)
    if across is not None:
        moved = _halves_of(S)[1] * _halves_of(after)[0]
        dacross = moved.sum(dim=(-2, -1), keepdim=True)
    ST = S.transpose(-1, -2)
    dw = None if w is None else (du @ ST).neg_()
    return (
        do @ written.transpose(-1, -2),
        du,
        dw,
        do @ ST,
        written @ after.transpose(-1, -2),
        dthrough,
        around[0] if first else None,
        dacross,
    )


def _halves_of(S: Tensor) -> tuple[Tensor, Tensor]:
    first, second = S.chunk(2, dim=-2)
    return first, second


class _Scan(torch.autograd.Function):
    """The same with a backward pass of its own."""

    @staticmethod
    def forward(
        ctx: Any,
        read: Tensor,
        u: Tensor,
        w: Tensor | None,
        q_in: Tensor,
        k_out: Tensor,
        through: Tensor | None,
        first: Tensor | None,
        leaves: bool,
        across: Tensor | None,
    ) -> tuple[Tensor, Tensor | None]:
        o, S, written = _scanned(read, u, w, q_in, k_out, through, first, leaves, across)
        last = S[-1].clone() if leaves else None
        ctx.leaves = leaves
        S = S[: u.shape[0]]
        ctx.save_for_backward(read, u, w, q_in, k_out, through, first, across, S, written)
        return o, last

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        read, u, w, q_in, k_out, through, first, across, S, written = ctx.saved_tensors
        if torch.is_grad_enabled():
            inputs = (read, u, w, q_in, k_out, through, first, ctx.leaves, across)
            return _by_autograd(_plain_scan, inputs, gradients)
        do, dlast = gradients
        saved = (read, w, q_in, k_out, through, across, S, written)
        *most, dacross = _scanned_back(do, dlast, *saved, first=first is not None)
        return *most, None, dacross


@torch.library.custom_op("move37::scan", mutates_args=())
def _scan_as_operator(
    read: Tensor,
    u: Tensor,
    w: Tensor | None,
    q_in: Tensor,
    k_out: Tensor,
    through: Tensor | None,
    across: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The same as one operator of a graph, so that the graph does not know how many chunks.

    Without u as it is written where that is u itself: no output may be an input.
    """
    o, S, written = _scanned(read, u, w, q_in, k_out, through, None, False, across)
    return o, S, u.new_empty(0) if w is None else written


@_scan_as_operator.register_fake
def _(
    read: Tensor,
    u: Tensor,
    w: Tensor | None,
    q_in: Tensor,  # noqa: ARG001
    k_out: Tensor,
    through: Tensor | None,  # noqa: ARG001
    across: Tensor | None,  # noqa: ARG001
) -> tuple[Tensor, Tensor, Tensor]:
    N, M, _, V = u.shape
    S = u.new_empty(N, M, k_out.shape[-1], V)
    written = u.new_empty(0) if w is None else torch.empty_like(u)
    return u.new_empty(N, M, read.shape[-2], V), S, written


@torch.library.custom_op("move37::scan_back", mutates_args=())
def _scan_back_as_operator(
    do: Tensor,
    read: Tensor,
    w: Tensor | None,
    q_in: Tensor,
    k_out: Tensor,
    through: Tensor | None,
    across: Tensor | None,
    S: Tensor,
    written: Tensor,
) -> list[Tensor]:
    """The gradients of the operator, for inputs that are None an empty tensor."""
    found = _scanned_back(do, None, read, w, q_in, k_out, through, across, S, written, first=False)
    *most, _, dacross = found
    return [do.new_empty(0) if x is None else x for x in (*most, dacross)]


@_scan_back_as_operator.register_fake
def _(
    do: Tensor,
    read: Tensor,
    w: Tensor | None,
    q_in: Tensor,
    k_out: Tensor,
    through: Tensor | None,
    across: Tensor | None,
    S: Tensor,  # noqa: ARG001
    written: Tensor,
) -> list[Tensor]:
    inputs = (read, written, w, q_in, k_out, through, across)
    return [do.new_empty(0 if x is None else x.shape) for x in inputs]


def _save_scan(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    read, u, w, q_in, k_out, through, across = inputs
    _, S, written = output
    written = u if w is None else written
    ctx.save_for_backward(read, w, q_in, k_out, through, across, S, written)


def _scan_gradients(ctx: Any, do: Tensor, *_: Tensor | None) -> tuple[Tensor | None, ...]:
    read, w, q_in, k_out, through, across, S, written = ctx.saved_tensors
    found = _scan_back_as_operator(do, read, w, q_in, k_out, through, across, S, written)
    inputs = (read, written, w, q_in, k_out, through, across)
    return tuple(None if x is None else dx for x, dx in zip(inputs, found, strict=True))


_scan_as_operator.register_autograd(_scan_gradients, setup_context=_save_scan)


# ---------------------------------------------------------------- attention and convolution


@_apart
def softmax_attention(
    q_BTHK: Tensor, k_BTHK: Tensor, v_BTHV: Tensor, documents_BT: Tensor | None = None
) -> Tensor:
    """See `reference.softmax_attention`; quadratic in T."""
    seen = None
    if documents_BT is not None or transformed():
        seen = q_BTHK.new_ones(q_BTHK.shape[1], q_BTHK.shape[1], dtype=torch.bool).tril()
    if seen is not None and documents_BT is not None:
        documents_BT = in_turn(documents_BT)
        seen = (seen & (documents_BT[:, :, None] == documents_BT[:, None, :]))[:, None]
    q, k, v = (x.transpose(1, 2) for x in (q_BTHK, k_BTHK, v_BTHV))
    if seen is not None and transformed():  # PyTorch's kernels have no forward-mode derivative
        score = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).masked_fill(~seen, -torch.inf)
        return (score.softmax(dim=-1) @ v).transpose(1, 2)
    o = F.scaled_dot_product_attention(q, k, v, attn_mask=seen, is_causal=seen is None)
    return o.transpose(1, 2)


@_apart
def sliding_window_attention(
    q_BTHK: Tensor,
    k_BTHK: Tensor,
    v_BTHV: Tensor,
    bias_HW: Tensor,
    documents_BT: Tensor | None = None,
) -> Tensor:
    """See `reference.sliding_window_attention`; a block of W reads itself and the one before."""
    (B, T), W = q_BTHK.shape[:2], bias_HW.shape[1]
    q, k, v = (_split(x, W) for x in (q_BTHK, k_BTHK, v_BTHV))
    k, v = (_with_previous(x) for x in (k, v))
    score_NMWS = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5

    # distance[i, s]: how far back s lies; the previous block holds s < W, the own one s >= W.
    places = torch.arange(2 * W, device=q.device)
    distance_WS = places[W:, None] - places[None, :]
    seen = ((distance_WS >= 0) & (distance_WS < W)).expand(q.shape[0], 1, W, 2 * W).clone()
    seen[0, :, :, :W] = False
    score_NMWS = score_NMWS + bias_HW[:, distance_WS.clamp(0, W - 1)].repeat(B, 1, 1)
    if documents_BT is not None:
        own = _split(in_turn(documents_BT)[..., None, None], W)
        same = own == _with_previous(own).transpose(-1, -2)
        seen = seen & same.repeat_interleave(q_BTHK.shape[2], dim=1)
    weight_NMWS = score_NMWS.masked_fill(~seen, -torch.inf).softmax(dim=-1)
    return _join(weight_NMWS @ v, B)[:, :T]


def _with_previous(x_NMCX: Tensor) -> Tensor:
    """Prepends to each block the block before it (zeros before the first)."""
    previous = torch.cat([torch.zeros_like(x_NMCX[:1]), x_NMCX])[: x_NMCX.shape[0]]
    return torch.cat([previous, x_NMCX], dim=-2)


def short_convolution(
    x_BTD: Tensor, weight_DW: Tensor, documents_BT: Tensor | None = None
) -> Tensor:
    """See `reference.short_convolution`; a sum of W shifted copies (W is small)."""
    T, W = x_BTD.shape[1], weight_DW.shape[1]
    documents_BT = None if documents_BT is None else in_turn(documents_BT)
    total_BTD = x_BTD * weight_DW[:, 0]
    # Of a length that is not known yet, a compiler shifts by as much as W.
    for d in range(1, W if torch.compiler.is_compiling() else min(T, W)):
        earlier_BTD = F.pad(x_BTD, (0, 0, d, 0))[:, :T]
        if documents_BT is not None:
            same_BT = F.pad(documents_BT, (d, 0), value=-1)[:, :T] == documents_BT
            earlier_BTD = earlier_BTD.masked_fill(~same_BT[..., None], 0)
        total_BTD = torch.addcmul(total_BTD, earlier_BTD, weight_DW[:, d])
    return total_BTD
