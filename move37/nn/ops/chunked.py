"""The same operators, parallel over chunks of time.

Within a chunk everything is a matrix product; from chunk to chunk only the state passes, so
time is linear in T. All exponents are differences of cumulated log decays with the later
position first, hence never positive: nothing overflows, however strong the decay.

Shape letters: B batch, N chunks, C positions in a chunk, T = N C time, H heads, K key size,
V value size, D width, W window. See `reference` for the definitions.
"""

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

# Scalar decays cost (C, C) numbers per chunk and head, decays per channel (C, C, K).
CHUNK_SCALAR = 64
CHUNK_CHANNEL = 16


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

    pairs_BN1CC: Tensor  # i sees j: j <= i, same document
    carried_BN1C: Tensor | None  # i sees the state that enters the chunk
    kept_BN1C: Tensor | None  # j is still there in the state that leaves the chunk
    passed_BN: Tensor | None  # the entering state is still there in the leaving one


def _reach(documents_BT: Tensor | None, N: int, C: int, device: torch.device) -> _Reach:
    causal_CC = torch.ones(C, C, dtype=torch.bool, device=device).tril()
    if documents_BT is None:
        return _Reach(causal_CC[None, None, None], None, None, None)
    documents_BNC = documents_BT.unflatten(1, (N, C))
    same_BNCC = documents_BNC[..., :, None] == documents_BNC[..., None, :]
    before_BN = torch.cat([documents_BNC[:, :1, 0], documents_BNC[:, :-1, -1]], dim=1)
    carried_BNC = documents_BNC == before_BN[..., None]
    kept_BNC = documents_BNC == documents_BNC[..., -1:]
    return _Reach(
        (causal_CC & same_BNCC)[:, :, None],
        carried_BNC[:, :, None],
        kept_BNC[:, :, None],
        carried_BNC[..., -1],
    )


def _split(x: Tensor, N: int, C: int) -> Tensor:
    """(B, T, H, ...) -> (B, N, H, C, ...), zeros appended up to T = N C."""
    missing = N * C - x.shape[1]
    if missing:
        x = torch.cat([x, x.new_zeros(x.shape[0], missing, *x.shape[2:])], dim=1)
    return x.unflatten(1, (N, C)).transpose(2, 3)


def _recurrence(
    q_BTHK: Tensor,
    k_BTHK: Tensor,
    v_BTHV: Tensor,
    beta_BTH: Tensor | None,
    log_decay: Tensor | None,
    documents_BT: Tensor | None,
    chunk: int | None,
) -> Tensor:
    T = q_BTHK.shape[1]
    channelwise = log_decay is not None and log_decay.ndim == 4
    N = math.ceil(T / (chunk or (CHUNK_CHANNEL if channelwise else CHUNK_SCALAR)))
    C = math.ceil(T / N)  # chunks of equal size, so that little is padded

    q, k, v = (_split(x, N, C) for x in (q_BTHK, k_BTHK, v_BTHV))  # (B, N, H, C, K or V)
    if documents_BT is not None and N * C > T:
        documents_BT = torch.cat([documents_BT, documents_BT[:, -1:].expand(-1, N * C - T)], dim=1)
    reach = _reach(documents_BT, N, C, q.device)

    # g: log decay from the start of the chunk to each position, that position's own included.
    # left = exp(g) takes the entering state to i; right = exp(g_C - g) takes j to the end.
    g = left = right = through = None
    if log_decay is not None:
        # What is forgotten below the rounding of S is forgotten; a larger sum would only cost
        # the gentle decays beside it their last digits.
        log_decay = log_decay.clamp(min=2 * math.log(torch.finfo(log_decay.dtype).eps))
        g = _split(log_decay if channelwise else log_decay[..., None], N, C).cumsum(dim=-2)
        left, right, through = g.exp(), (g[..., -1:, :] - g).exp(), g[..., -1, :].exp()

    k_out = k if right is None else k * right
    k_in = k if left is None else k * left
    q_in = q if left is None else q * left
    if reach.carried_BN1C is not None:
        k_in = k_in * reach.carried_BN1C[..., None]
        q_in = q_in * reach.carried_BN1C[..., None]
    if reach.kept_BN1C is not None:
        k_out = k_out * reach.kept_BN1C[..., None]
    if reach.passed_BN is not None:
        passed = reach.passed_BN[:, :, None, None].to(k.dtype)
        through = passed if through is None else through * passed

    read_BNHCC = _pairs(q, k, g, reach.pairs_BN1CC)
    if beta_BTH is None:
        u_BNHCV, w_BNHCK = v, None
    else:
        # (I + L) u = b (v - S k_in), L strictly lower: what each position writes after all
        # earlier writes of its chunk. Solved for all chunks at once, before the states.
        beta = _split(beta_BTH[..., None], N, C)
        L = (beta * _pairs(k, k, g, reach.pairs_BN1CC)).tril(-1)
        eye = torch.eye(C, dtype=L.dtype, device=L.device)
        right_side = torch.cat([beta * v, beta * k_in], dim=-1)
        solved = torch.linalg.solve_triangular(L + eye, right_side, upper=False, unitriangular=True)
        u_BNHCV, w_BNHCK = solved.split([v.shape[-1], k.shape[-1]], dim=-1)

    if N == 1:  # no state enters
        o = read_BNHCC @ u_BNHCV
    else:
        # unbind, not x[:, n]: the backward of each index would visit the whole of x again.
        into = k_out.transpose(-1, -2).unbind(1)
        kept = None if through is None else through[..., None].unbind(1)
        corrections = None if w_BNHCK is None else w_BNHCK.unbind(1)
        S_BHKV = k.new_zeros(k.shape[0], k.shape[2], k.shape[-1], v.shape[-1])
        states, writes = [], []
        for n, u in enumerate(u_BNHCV.unbind(1)):
            states.append(S_BHKV)
            if corrections is not None:
                u = u - corrections[n] @ S_BHKV
            writes.append(u)
            if kept is not None:
                S_BHKV = S_BHKV * kept[n]
            S_BHKV = S_BHKV + into[n] @ u
        o = q_in @ torch.stack(states, dim=1) + read_BNHCC @ torch.stack(writes, dim=1)
    return o.transpose(2, 3).flatten(1, 2)[:, :T]


def _pairs(q: Tensor, k: Tensor, g: Tensor | None, pairs_BN1CC: Tensor) -> Tensor:
    """q_i . (exp(g_i - g_j) * k_j) for each i that sees j, else 0."""
    if g is None:
        return (q @ k.transpose(-1, -2)).masked_fill(~pairs_BN1CC, 0)
    if g.shape[-1] == 1:
        return (q @ k.transpose(-1, -2)) * _decay_between(g, pairs_BN1CC)[..., 0]
    result: Tensor = _ChannelPairs.apply(q, k, g, pairs_BN1CC)  # type: ignore[no-untyped-call]
    return result


def _decay_between(g: Tensor, pairs_BN1CC: Tensor) -> Tensor:
    """exp(g_i - g_j) for each i that sees j, else 0: (..., C, C, K)."""
    # Masked before exp: above the diagonal the difference is positive and could overflow.
    difference = g[..., :, None, :] - g[..., None, :, :]
    return difference.masked_fill(~pairs_BN1CC[..., None], -torch.inf).exp()


class _ChannelPairs(torch.autograd.Function):
    """P_ij = sum over k of q_ik D_ijk k_jk with D_ijk = exp(g_ik - g_jk).

    The gradient by hand keeps no (C, C, K) tensor but D: that of g follows from those of q and
    k, since each factor exp(g_ik) stands beside q_ik and each exp(-g_jk) beside k_jk. A second
    derivative has to see that D depends on g, and so computes it again.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, g: Tensor, pairs_BN1CC: Tensor) -> Tensor:
        D = _decay_between(g, pairs_BN1CC)
        ctx.save_for_backward(q, k, g, pairs_BN1CC, D)
        return ((D * k[..., None, :, :]) @ q[..., :, :, None])[..., 0]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        q, k, g, pairs_BN1CC, D = ctx.saved_tensors
        if torch.is_grad_enabled():
            D = _decay_between(g, pairs_BN1CC)
        weighted = D * gradients[0][..., None]
        dq = (weighted * k[..., None, :, :]).sum(dim=-2)
        dk = (weighted * q[..., :, None, :]).sum(dim=-3)
        return dq, dk, q * dq - k * dk, None


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
    T, W = q_BTHK.shape[1], bias_HW.shape[1]
    N = math.ceil(T / W)
    q, k, v = (_split(x, N, W) for x in (q_BTHK, k_BTHK, v_BTHV))
    k, v = (_with_previous(x) for x in (k, v))
    score_BNHWS = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5

    # distance[i, s]: how far back s lies; the previous block holds s < W, the own one s >= W.
    places = torch.arange(2 * W, device=q.device)
    distance_WS = places[W:, None] - places[None, :]
    seen = ((distance_WS >= 0) & (distance_WS < W)).expand(N, W, 2 * W).clone()
    seen[0, :, :W] = False
    score_BNHWS = score_BNHWS + bias_HW[:, distance_WS.clamp(0, W - 1)]
    seen_BN1WS = seen[None, :, None]
    if documents_BT is not None:
        own = _split(documents_BT[..., None, None], N, W)
        both = _with_previous(own)
        seen_BN1WS = seen_BN1WS & (own == both.transpose(-1, -2))
    weight_BNHWS = score_BNHWS.masked_fill(~seen_BN1WS, -torch.inf).softmax(dim=-1)
    return (weight_BNHWS @ v).transpose(2, 3).flatten(1, 2)[:, :T]


def _with_previous(x_BNHCX: Tensor) -> Tensor:
    """Prepends to each block the block before it (zeros before the first)."""
    previous = torch.cat([torch.zeros_like(x_BNHCX[:, :1]), x_BNHCX[:, :-1]], dim=1)
    return torch.cat([previous, x_BNHCX], dim=-2)


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
