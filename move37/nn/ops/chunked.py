"""The same operators, parallel over chunks of time.

Within a chunk everything is a matrix product; from chunk to chunk only the state passes, so
time is linear in T. All exponents are differences of cumulated log decays with the later
position first, hence never positive: nothing overflows, however strong the decay.

What autograd would make slow (the loop over chunks, the triangular system, the decays between all
pairs) has its backward pass written by hand, beside the plain form that says what it computes.
Where gradients of gradients are asked for, the plain form is used.

Shape letters: B batch, N chunks, C positions in a chunk, T = N C time, H heads, M = B H,
K key size, V value size, D width, W window. See `reference` for the definitions.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

# Scalar decays cost (C, C) numbers per chunk and head, decays per channel (C, C, K).
CHUNK_SCALAR = 32
CHUNK_CHANNEL = 16
# Smaller triangles are inverted row by row, larger ones from two halves.
SUBSTITUTED = 16


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


class _Reach(NamedTuple):
    """Which positions of a chunk see each other, the state before it, and the state after it."""

    pairs: Tensor  # (N, M, C, C): i sees j, that is j <= i in the same document
    carried: Tensor | None  # (N, M, C, 1): i sees the state that enters the chunk
    kept: Tensor | None  # (N, M, C, 1): j is still there in the state that leaves the chunk
    passed: Tensor | None  # (N, M, 1, 1): so is the state that entered


def _reach(documents_BT: Tensor | None, N: int, C: int, H: int, device: torch.device) -> _Reach:
    causal_CC = torch.ones(C, C, dtype=torch.bool, device=device).tril()
    if documents_BT is None:
        return _Reach(causal_CC[None, None], None, None, None)
    missing = N * C - documents_BT.shape[1]
    last_B1 = documents_BT[:, -1:]
    documents_BT = torch.cat([documents_BT, last_B1.expand(-1, missing)], dim=1)
    documents_NMC = documents_BT.unflatten(1, (N, C)).transpose(0, 1).repeat_interleave(H, dim=1)
    same_NMCC = documents_NMC[..., :, None] == documents_NMC[..., None, :]
    before_NM = torch.cat([documents_NMC[:1, :, 0], documents_NMC[:-1, :, -1]])
    carried_NMC = documents_NMC == before_NM[..., None]
    kept_NMC = documents_NMC == documents_NMC[..., -1:]
    return _Reach(
        causal_CC & same_NMCC,
        carried_NMC[..., None],
        kept_NMC[..., None],
        carried_NMC[..., -1:, None],
    )


def _split(x: Tensor, N: int, C: int) -> Tensor:
    """(B, T, H, X) -> (N, M, C, X), zeros appended up to T = N C."""
    missing = N * C - x.shape[1]
    if missing:
        x = torch.cat([x, x.new_zeros(x.shape[0], missing, *x.shape[2:])], dim=1)
    return x.unflatten(1, (N, C)).permute(1, 0, 3, 2, 4).flatten(1, 2)


def _join(x: Tensor, B: int, T: int) -> Tensor:
    """(N, M, C, X) -> (B, T, H, X)."""
    return x.unflatten(1, (B, -1)).permute(1, 0, 3, 2, 4).flatten(1, 2)[:, :T]


def _recurrence(
    q_BTHK: Tensor,
    k_BTHK: Tensor,
    v_BTHV: Tensor,
    beta_BTH: Tensor | None,
    log_decay: Tensor | None,
    documents_BT: Tensor | None,
    chunk: int | None,
) -> Tensor:
    B, T, H = q_BTHK.shape[:3]
    channelwise = log_decay is not None and log_decay.ndim == 4
    N = math.ceil(T / (chunk or (CHUNK_CHANNEL if channelwise else CHUNK_SCALAR)))
    C = math.ceil(T / N)  # chunks of equal size, so that little is padded

    q, k, v = (_split(x, N, C) for x in (q_BTHK, k_BTHK, v_BTHV))
    reach = _reach(documents_BT, N, C, H, q.device)

    # g: log decay from the start of the chunk to each position, that position's own included.
    # left = exp(g) takes the entering state to i; right = exp(g_C - g) takes j to the end.
    g = through = None
    k_in = k_out = k
    q_in = q
    if log_decay is not None:
        # What is forgotten below the rounding of S is forgotten; a larger sum would only cost
        # the gentle decays beside it their last digits.
        log_decay = log_decay.clamp(min=2 * math.log(torch.finfo(log_decay.dtype).eps))
        g = _split(log_decay if channelwise else log_decay[..., None], N, C).cumsum(dim=-2)
        left, right = g.exp(), (g[..., -1:, :] - g).exp()
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
        read = _ChannelPairs.apply(q, k, g, reach.pairs)  # type: ignore[no-untyped-call]
    if beta_BTH is None:
        if not channelwise:
            read = _scalar_pairs(q, k, g, reach.pairs)
        return _join(_scan(read, v, None, q_in, k_out, through), B, T)

    # (I + L) u = b (v - S k_in), L strictly lower: what each position writes after all earlier
    # writes of its chunk. Solved for all chunks at once, before the states.
    beta = _split(beta_BTH[..., None], N, C)
    if channelwise:
        among = _ChannelPairs.apply(k, k, g, reach.pairs).tril(-1)  # type: ignore[no-untyped-call]
    else:
        read, among = _ScalarPairs.apply(q, k, g, reach.pairs)  # type: ignore[no-untyped-call]
    right_side = torch.cat([beta * v, beta * k_in], dim=-1)
    solved: Tensor = _Solve.apply(beta * among, right_side)  # type: ignore[no-untyped-call]
    u, w = solved.split([v.shape[-1], k.shape[-1]], dim=-1)
    return _join(_scan(read, u, w, q_in, k_out, through), B, T)


def _by_autograd(
    plain: Callable[..., Any], inputs: tuple[Any, ...], gradients: tuple[Tensor, ...]
) -> tuple[Tensor | None, ...]:
    """Returns the gradients of `plain` in a form that can be differentiated again."""
    wanted = [x for x in inputs if isinstance(x, Tensor) and x.requires_grad]
    with torch.enable_grad():
        found = iter(torch.autograd.grad(plain(*inputs), wanted, gradients, create_graph=True))
    return tuple(next(found) if isinstance(x, Tensor) and x.requires_grad else None for x in inputs)


# ---------------------------------------------------------------- pairs within a chunk


def _decay_between(g: Tensor, pairs: Tensor) -> Tensor:
    """exp(g_i - g_j) for each i that sees j, else 0: (..., C, C, K or 1)."""
    # Masked before exp: above the diagonal the difference is positive and could overflow.
    difference = g[..., :, None, :] - g[..., None, :, :]
    return difference.masked_fill(~pairs[..., None], -torch.inf).exp()


def _scalar_pairs(q: Tensor, k: Tensor, g: Tensor | None, pairs: Tensor) -> Tensor:
    """q_i . k_j exp(g_i - g_j) for each i that sees j, else 0; g is (N, M, C, 1)."""
    D = pairs if g is None else _decay_between(g, pairs)[..., 0]
    return (q @ k.transpose(-1, -2)) * D


def _plain_scalar_pairs(
    q: Tensor, k: Tensor, g: Tensor | None, pairs: Tensor
) -> tuple[Tensor, Tensor]:
    return _scalar_pairs(q, k, g, pairs), _scalar_pairs(k, k, g, pairs).tril(-1)


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
            E = (dread * read).addcmul_(damong, among)
            dg = (E.sum(dim=-1) - E.sum(dim=-2))[..., None]
        dread, damong = dread * D, (damong * D).tril_(-1)
        dk = damong @ k + damong.transpose(-1, -2) @ k + dread.transpose(-1, -2) @ q
        return dread @ k, dk, dg, None


def _plain_channel_pairs(q: Tensor, k: Tensor, g: Tensor, pairs: Tensor) -> Tensor:
    return ((_decay_between(g, pairs) * k[..., None, :, :]) @ q[..., :, :, None])[..., 0]


class _ChannelPairs(torch.autograd.Function):
    """P_ij = sum over k of q_ik D_ijk k_jk with D_ijk = exp(g_ik - g_jk).

    The gradient by hand keeps no (C, C, K) tensor but D: that of g follows from those of q and
    k, since each factor exp(g_ik) stands beside q_ik and each exp(-g_jk) beside k_jk.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, g: Tensor, pairs: Tensor) -> Tensor:
        D = _decay_between(g, pairs)
        ctx.save_for_backward(q, k, g, pairs, D)
        return ((D * k[..., None, :, :]) @ q[..., :, :, None])[..., 0]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        q, k, g, pairs, D = ctx.saved_tensors
        if torch.is_grad_enabled():
            return _by_autograd(_plain_channel_pairs, (q, k, g, pairs), gradients)
        weighted = D * gradients[0][..., None]
        dq = (weighted * k[..., None, :, :]).sum(dim=-2)
        dk = (weighted * q[..., :, None, :]).sum(dim=-3)
        return dq, dk, q * dq - k * dk, None


# ---------------------------------------------------------------- the triangular system


def _plain_solve(L: Tensor, X: Tensor) -> Tensor:
    """(I + L)^-1 X for strictly lower L."""
    eye = torch.eye(L.shape[-1], dtype=L.dtype, device=L.device)
    return torch.linalg.solve_triangular(L + eye, X, upper=False, unitriangular=True)


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
) -> Tensor:
    """Passes the state through the chunks; see `_plain_scan` for what it computes."""
    if u.shape[0] == 1:  # no state enters
        return read @ u
    result: Tensor = _Scan.apply(read, u, w, q_in, k_out, through)  # type: ignore[no-untyped-call]
    return result


def _plain_scan(
    read: Tensor,  # (N, M, C, C)
    u: Tensor,  # (N, M, C, V)
    w: Tensor | None,  # (N, M, C, K)
    q_in: Tensor,  # (N, M, C, K)
    k_out: Tensor,  # (N, M, C, K)
    through: Tensor | None,  # (N, M, K or 1, 1)
) -> Tensor:
    """Per chunk: u <- u - w S;  o = q_in S + read u;  S <- through S + k_out^T u."""
    S_MKV = u.new_zeros(u.shape[1], k_out.shape[-1], u.shape[-1])
    outputs = []
    for n in range(u.shape[0]):
        u_n = u[n] if w is None else u[n] - w[n] @ S_MKV
        outputs.append(q_in[n] @ S_MKV + read[n] @ u_n)
        kept = S_MKV if through is None else through[n] * S_MKV
        S_MKV = kept + k_out[n].transpose(-1, -2) @ u_n
    return torch.stack(outputs)


class _Scan(torch.autograd.Function):
    """The same; the backward pass runs the chunks once, from the last to the first."""

    @staticmethod
    def forward(
        ctx: Any,
        read: Tensor,
        u: Tensor,
        w: Tensor | None,
        q_in: Tensor,
        k_out: Tensor,
        through: Tensor | None,
    ) -> Tensor:
        N, M, _, V = u.shape
        S = u.new_zeros(N, M, k_out.shape[-1], V)  # the states that enter the chunks
        written = u if w is None else torch.empty_like(u)
        k_outT = k_out.transpose(-1, -2)
        for n in range(N):
            if w is not None:
                torch.baddbmm(u[n], w[n], S[n], alpha=-1, out=written[n])
            if n + 1 < N:
                kept = S[n] if through is None else S[n] * through[n]
                torch.baddbmm(kept, k_outT[n], written[n], out=S[n + 1])
        ctx.save_for_backward(read, u, w, q_in, k_out, through, S, written)
        return (q_in @ S).add_(read @ written)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        read, u, w, q_in, k_out, through, S, written = ctx.saved_tensors
        if torch.is_grad_enabled():
            return _by_autograd(_plain_scan, (read, u, w, q_in, k_out, through), gradients)
        do = gradients[0]
        N = u.shape[0]
        du = read.transpose(-1, -2) @ do
        own = q_in.transpose(-1, -2) @ do  # gradient of the entering state, by its own chunk
        after = torch.zeros_like(S)  # gradient of the state that leaves each chunk
        for n in range(N - 1, -1, -1):
            du[n].baddbmm_(k_out[n], after[n])
            if n:
                earlier = after[n - 1]
                if through is None:
                    torch.add(own[n], after[n], out=earlier)
                else:
                    torch.addcmul(own[n], after[n], through[n], out=earlier)
                if w is not None:
                    earlier.baddbmm_(w[n].transpose(-1, -2), du[n], alpha=-1)
        dthrough = None
        if through is not None:
            dthrough = (S * after).sum(dim=-1, keepdim=True)
            if through.shape[-2] == 1:
                dthrough = dthrough.sum(dim=-2, keepdim=True)
        ST = S.transpose(-1, -2)
        dw = None if w is None else (du @ ST).neg_()
        return (
            do @ written.transpose(-1, -2),
            du,
            dw,
            do @ ST,
            written @ after.transpose(-1, -2),
            dthrough,
        )


# ---------------------------------------------------------------- attention and convolution


def softmax_attention(
    q_BTHK: Tensor, k_BTHK: Tensor, v_BTHV: Tensor, documents_BT: Tensor | None = None
) -> Tensor:
    """See `reference.softmax_attention`; quadratic in T."""
    mask = None
    if documents_BT is not None:
        causal_TT = q_BTHK.new_ones(q_BTHK.shape[1], q_BTHK.shape[1], dtype=torch.bool).tril()
        mask = (causal_TT & (documents_BT[:, :, None] == documents_BT[:, None, :]))[:, None]
    q, k, v = (x.transpose(1, 2) for x in (q_BTHK, k_BTHK, v_BTHV))
    o = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
    return o.transpose(1, 2)


def sliding_window_attention(
    q_BTHK: Tensor,
    k_BTHK: Tensor,
    v_BTHV: Tensor,
    bias_HW: Tensor,
    documents_BT: Tensor | None = None,
) -> Tensor:
    """See `reference.sliding_window_attention`; a block of W reads itself and the one before."""
    (B, T, H), W = q_BTHK.shape[:3], bias_HW.shape[1]
    N = math.ceil(T / W)
    q, k, v = (_split(x, N, W) for x in (q_BTHK, k_BTHK, v_BTHV))
    k, v = (_with_previous(x) for x in (k, v))
    score_NMWS = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5

    # distance[i, s]: how far back s lies; the previous block holds s < W, the own one s >= W.
    places = torch.arange(2 * W, device=q.device)
    distance_WS = places[W:, None] - places[None, :]
    seen = ((distance_WS >= 0) & (distance_WS < W)).expand(N, 1, W, 2 * W).clone()
    seen[0, :, :, :W] = False
    score_NMWS = score_NMWS + bias_HW[:, distance_WS.clamp(0, W - 1)].repeat(B, 1, 1)
    if documents_BT is not None:
        own = _split(documents_BT[..., None, None], N, W)
        same = own == _with_previous(own).transpose(-1, -2)
        seen = seen & same.repeat_interleave(H, dim=1)
    weight_NMWS = score_NMWS.masked_fill(~seen, -torch.inf).softmax(dim=-1)
    return _join(weight_NMWS @ v, B, T)


def _with_previous(x_NMCX: Tensor) -> Tensor:
    """Prepends to each block the block before it (zeros before the first)."""
    previous = torch.cat([torch.zeros_like(x_NMCX[:1]), x_NMCX[:-1]])
    return torch.cat([previous, x_NMCX], dim=-2)


def short_convolution(
    x_BTD: Tensor, weight_DW: Tensor, documents_BT: Tensor | None = None
) -> Tensor:
    """See `reference.short_convolution`; a sum of W shifted copies (W is small)."""
    T = x_BTD.shape[1]
    total_BTD = x_BTD * weight_DW[:, 0]
    for d in range(1, min(T, weight_DW.shape[1])):
        earlier_BTD = x_BTD[:, : T - d]
        if documents_BT is not None:
            same_BT = documents_BT[:, d:] == documents_BT[:, : T - d]
            earlier_BTD = earlier_BTD * same_BT[..., None]
        total_BTD = total_BTD + F.pad(earlier_BTD * weight_DW[:, d], (0, 0, d, 0))
    return total_BTD
