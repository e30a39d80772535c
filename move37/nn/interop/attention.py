"""Attention of all pairs of positions, as layers import it from fla and flash_attn.

The same names, arguments and results as there. The weights of all pairs of positions are built, so
time and memory grow with the square of the length: a layer that uses one of these is refused as
not sub-quadratic, which is right.

Covered: softmax attention (also of flash_attn), forgetting attention, PaTH, native sparse
attention, mixture of block attention, stick-breaking, DeltaFormer, Parallax, Wall attention.
Not covered: decoding (`only_for_decoding`), dropout.

Shape letters: B batch, T time, Q queries, S keys, H heads, K key size, V value size, N sequences,
C chunk or number of blocks.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from move37.nn.interop.modules import check_packed, document_numbers, wide
from move37.nn.interop.operators import check_options
from move37.nn.interop.recurrences import by_sequence

_PATH_CHUNK = 32


def _to_heads(q: Tensor, *others: Tensor) -> list[Tensor]:
    """Returns (B, H, T, ...) of each, those with fewer heads repeated to the heads of q."""
    heads = q.shape[2]
    return [
        wide(x).repeat_interleave(heads // x.shape[2], dim=2).transpose(1, 2) for x in (q, *others)
    ]


def _visible(
    borders_q: Tensor | None,
    borders_k: Tensor | None,
    queries: int,
    keys: int,
    left: int | None,
    right: int | None,
    device: torch.device,
) -> Tensor:
    """Returns (Q, S): True for keys from `left` positions before a query to `right` behind it.

    None is without limit. The last query of a sequence stands at its last key.
    """
    ends_q = torch.tensor([0, queries], device=device) if borders_q is None else borders_q.long()
    ends_k = torch.tensor([0, keys], device=device) if borders_k is None else borders_k.long()
    number_Q, number_S = document_numbers(ends_q, queries)[0], document_numbers(ends_k, keys)[0]
    place_Q = torch.arange(queries, device=device) - ends_q[1:][number_Q]
    place_S = torch.arange(keys, device=device) - ends_k[1:][number_S]
    ahead = place_S - place_Q[:, None]
    seen = number_Q[:, None] == number_S
    if left is not None:
        seen = seen & (ahead >= -left)
    if right is not None:
        seen = seen & (ahead <= right)
    return seen


def _softmax(score: Tensor, seen: Tensor, sink_H: Tensor | None = None) -> Tensor:
    """Returns weights (B, H, Q, S); zero where nothing is seen. A sink takes its share of them."""
    score = score.masked_fill(~seen, -torch.inf)
    if sink_H is not None:
        sink = sink_H.to(score.dtype)[:, None, None].expand(*score.shape[:3], 1)
        return torch.cat([score, sink], dim=-1).softmax(dim=-1)[..., :-1]
    some = seen.any(dim=-1, keepdim=True)
    return score.masked_fill(~some, 0).softmax(dim=-1) * some


# ---------------------------------------------------------------- softmax attention


def parallel_attn(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None = None,
    scale: float | None = None,
    window_size: int | None = None,
    cu_seqlens: Tensor | None = None,
    *,
    sink_bias: Tensor | None = None,
    **options: Any,
) -> Tensor:
    """o_t = sum over s <= t of softmax_s(scale q_t . k_s + g_{s+1} + ... + g_t) v_s.

    q (B, T, HQ, K), k and v with HQ or fewer heads, g (B, T, HQ). A window holds the token itself
    and the window_size - 1 before it. sink_bias (HQ,) is a further score that has no value.
    """
    check_options("parallel_attn", options)
    check_packed(q, cu_seqlens)
    dtype, T = q.dtype, q.shape[1]
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    q, k, v = _to_heads(q, k, v)
    score = scale * (q @ k.mT)
    if g is not None:
        total_BHT = wide(g).transpose(1, 2).cumsum(dim=-1)
        score = score + total_BHT[..., None] - total_BHT[..., None, :]
    left = None if window_size is None else window_size - 1
    seen = _visible(cu_seqlens, cu_seqlens, T, T, left, 0, q.device)
    return (_softmax(score, seen, sink_bias) @ v).transpose(1, 2).to(dtype)


def parallel_forgetting_attn(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    scale: float | None = None,
    window_size: int | None = None,
    cu_seqlens: Tensor | None = None,
) -> Tensor:
    """`parallel_attn` with forget gates, g = log f (B, T, HQ). Lin et al. arXiv:2503.02130."""
    return parallel_attn(q, k, v, g, scale, window_size=window_size, cu_seqlens=cu_seqlens)


def flash_attn_func(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = False,
    window_size: tuple[int, int] = (-1, -1),
    **options: Any,
) -> Tensor:
    """Softmax attention of q (B, Q, HQ, K) to k and v (B, S, H, ...); -1 is a window without limit.

    `causal` lets the last query see all keys, the one before all except the last, and so on.
    """
    return _flash(q, k, v, None, None, dropout_p, softmax_scale, causal, window_size, options)


def flash_attn_varlen_func(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_seqlens_q: Tensor,
    cu_seqlens_k: Tensor,
    max_seqlen_q: int,
    max_seqlen_k: int,
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = False,
    window_size: tuple[int, int] = (-1, -1),
    **options: Any,
) -> Tensor:
    """`flash_attn_func` of sequences packed into q (Q, HQ, K), and k and v (S, H, ...)."""
    del max_seqlen_q, max_seqlen_k  # how the kernel splits the work
    rest = (dropout_p, softmax_scale, causal, window_size, options)
    return _flash(q[None], k[None], v[None], cu_seqlens_q, cu_seqlens_k, *rest)[0]


def _flash(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_seqlens_q: Tensor | None,
    cu_seqlens_k: Tensor | None,
    dropout_p: float,
    softmax_scale: float | None,
    causal: bool,
    window_size: tuple[int, int],
    options: dict[str, Any],
) -> Tensor:
    name = "flash_attn_func"
    check_options(name, options)
    if dropout_p:
        raise NotImplementedError(f"the stand-in of {name} has no dropout_p")
    dtype, sizes = q.dtype, (q.shape[1], k.shape[1])
    scale = q.shape[-1] ** -0.5 if softmax_scale is None else softmax_scale
    left, right = (None if x < 0 else x for x in window_size)
    q, k, v = _to_heads(q, k, v)
    limits = (left, 0 if causal else right)
    seen = _visible(cu_seqlens_q, cu_seqlens_k, *sizes, *limits, q.device)
    return (_softmax(scale * (q @ k.mT), seen) @ v).transpose(1, 2).to(dtype)


# ---------------------------------------------------------------- other weights


def parallel_stickbreaking_attn(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scale: float | None = None,
    attend_current: bool = False,
    cu_seqlens: Tensor | None = None,
    **options: Any,
) -> tuple[Tensor, Tensor]:
    """Weights sigmoid(z_ts) prod over s < l < t of sigmoid(-z_tl), z = scale q . k, for s < t.

    With `attend_current` also s = t and l = t. Returns the output, and what is left of each stick
    (B, T, HQ). Tan et al. arXiv:2410.17980.
    """
    check_options("parallel_stickbreaking_attn", options)
    check_packed(q, cu_seqlens)
    dtype, T = q.dtype, q.shape[1]
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    q, k, v = _to_heads(q, k, v)
    z = scale * (q @ k.mT)
    right = 0 if attend_current else -1
    seen = _visible(cu_seqlens, cu_seqlens, T, T, None, right, q.device)
    left_over = F.logsigmoid(-z).masked_fill(~seen, 0)
    nearer = left_over.flip(-1).cumsum(dim=-1).flip(-1) - left_over
    weights = (F.logsigmoid(z) + nearer).masked_fill(~seen, -torch.inf).exp()
    rest = left_over.sum(dim=-1).exp().transpose(1, 2)
    return (weights @ v).transpose(1, 2).to(dtype), rest.to(dtype)


def deltaformer_attn(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor | None = None,
    attention_mask: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
    C: int | None = None,
) -> Tensor:
    """Causal softmax attention to u, where u_t = v_t - b_t sum over s < t of p_ts u_s.

    p_ts = softmax over s < t of q_t . k_s / sqrt(K); b (B, T, H), one without beta.
    Xu et al. arXiv:2505.19488.
    """
    del C  # how fla splits the work
    if attention_mask is not None:
        raise NotImplementedError("the stand-in of deltaformer_attn has no attention_mask")
    check_packed(q, cu_seqlens)
    dtype, T = q.dtype, q.shape[1]
    q, k, v = _to_heads(q, k, v)
    score = q.shape[-1] ** -0.5 * (q @ k.mT)
    seen = _visible(cu_seqlens, cu_seqlens, T, T, None, 0, q.device)
    earlier = _softmax(score, seen & ~torch.eye(T, dtype=torch.bool, device=q.device))
    if beta is not None:
        earlier = beta.to(q.dtype).transpose(1, 2)[..., None] * earlier
    system = torch.eye(T, dtype=q.dtype, device=q.device) + earlier
    u = torch.linalg.solve_triangular(system, v, upper=False)
    return (_softmax(score, seen) @ u).transpose(1, 2).to(dtype)


def parallel_parallax(
    q: Tensor,
    r: Tensor,
    k: Tensor,
    v: Tensor,
    scale: float | None = None,
    window_size: int | None = None,
    cu_seqlens: Tensor | None = None,
) -> Tensor:
    """o_t = sum of p_ts (1 + m_t - r_t . k_s) v_s, p = softmax(scale q . k), m_t = sum of p r . k.

    r is (B, T, HQ, K) as q. arXiv:2605.29157.
    """
    check_packed(q, cu_seqlens)
    dtype, T = q.dtype, q.shape[1]
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    q, r, k, v = _to_heads(q, r, k, v)
    left = None if window_size is None else window_size - 1
    seen = _visible(cu_seqlens, cu_seqlens, T, T, left, 0, q.device)
    weight, second = _softmax(scale * (q @ k.mT), seen), r @ k.mT
    mean = (weight * second).sum(dim=-1, keepdim=True)
    return ((weight * (1 + mean - second)) @ v).transpose(1, 2).to(dtype)


def parallel_wall_attn(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    *,
    g_scalar: Tensor | None = None,
    sink_bias: Tensor | None = None,
    scale: float | None = None,
    window_size: int | None = None,
    cu_seqlens: Tensor | None = None,
) -> Tensor:
    """Softmax attention with scores scale sum over channels of q_t exp(g_{s+1} + ... + g_t) k_s.

    g (B, T, HQ, K) is the logarithm of a decay for each channel; g_scalar and sink_bias as g and
    sink_bias of `parallel_attn`.
    """
    check_packed(q, cu_seqlens)
    dtype, T = q.dtype, q.shape[1]
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    q, k, v, g = _to_heads(q, k, v, g)
    total = g.cumsum(dim=2)
    left = None if window_size is None else window_size - 1
    seen = _visible(cu_seqlens, cu_seqlens, T, T, left, 0, q.device)
    # A row of queries at a time: the decays of all pairs and channels would not fit into memory.
    rows = [
        torch.einsum(
            "bhk,bhsk,bhsk->bhs",
            q[:, :, t],
            k[:, :, : t + 1],
            (total[:, :, t, None] - total[:, :, : t + 1]).exp(),
        )
        for t in range(T)
    ]
    score = scale * torch.stack([F.pad(row, (0, T - row.shape[-1])) for row in rows], dim=2)
    if g_scalar is not None:
        gate = wide(g_scalar).transpose(1, 2).cumsum(dim=-1)
        score = score + gate[..., None] - gate[..., None, :]
    return (_softmax(score, seen, sink_bias) @ v).transpose(1, 2).to(dtype)


def only_for_decoding(name: str) -> Callable[..., Any]:
    """Returns what stands for an operator that layers import for decoding with a cache.

    Called, it raises NotImplementedError.
    """

    def operator(*_: object, **__: object) -> Any:
        raise NotImplementedError(
            f"fla's {name} decodes from a cache and has no stand-in; a layer is called without one"
        )

    operator.__name__ = operator.__qualname__ = name
    return operator


def parallel_path_attn(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    w: Tensor,
    beta: Tensor,
    g: Tensor | None = None,
    scale: float | None = None,
    cu_seqlens: Tensor | None = None,
    use_cache: bool = False,
) -> tuple[Tensor, None]:
    """Softmax attention with scores scale (q_t . P k_s + g_{s+1} + ... + g_t), P from s to t.

    P = (I - b_t w_t w_t^T) ... (I - b_{s+1} w_{s+1} w_{s+1}^T); w (B, T, H, K), beta (B, T, H),
    g (B, T, HQ). Time O(T^2 K). Yang et al. arXiv:2505.16381.
    """
    if use_cache:
        raise NotImplementedError("the stand-in of parallel_path_attn has no use_cache")
    check_packed(q, cu_seqlens)
    dtype = q.dtype
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    gate = None if g is None else wide(g)

    def run(inputs: Sequence[Any], _: Sequence[Any]) -> tuple[Tensor, list[Tensor]]:
        *inputs, gate = inputs
        q, k, v, w, beta = _to_heads(*inputs[:4], inputs[4][..., None])
        score, T = _through_reflections(q, k, w, beta), q.shape[2]
        if gate is not None:
            total = gate.transpose(1, 2).cumsum(dim=-1)
            score = score + total[..., None] - total[..., None, :]
        seen = torch.ones(T, T, dtype=torch.bool, device=q.device).tril()
        return (_softmax(scale * score, seen) @ v).transpose(1, 2), []

    o, _ = by_sequence(run, [q, k, v, w, beta, gate], [], cu_seqlens)
    return o.to(dtype), None


def _through_reflections(q: Tensor, k: Tensor, w: Tensor, beta: Tensor) -> Tensor:
    """Returns q_t . P k_s for s <= t (B, H, T, T), as in `parallel_path_attn`; beta (B, H, T, 1).

    Within a chunk, the product of reflections is I - W^T X (a triangular system gives X). Queries
    go from chunk to chunk backwards, all chunks of a distance at once.
    """
    T, C = q.shape[2], _PATH_CHUNK
    N = -(-T // C)
    q, k, w, beta = (F.pad(x, (0, 0, 0, N * C - T)).unflatten(2, (N, C)) for x in (q, k, w, beta))
    weighted = beta * w
    system = torch.eye(C, dtype=q.dtype, device=q.device) + (weighted @ w.mT).tril(-1)

    def solve(x: Tensor) -> Tensor:
        return torch.linalg.solve_triangular(system, x, upper=False)

    overlap, own = (q @ w.mT).tril(), solve((weighted @ k.mT).tril(-1))
    near = (q @ k.mT).tril() - overlap @ own  # (B, H, N, C, C)
    step = solve(weighted)
    from_start, to_end = q - overlap @ step, k - own.mT @ w
    parts = [near]  # the scores of each chunk's queries with the keys of the chunk so far before
    for distance in range(1, N):
        moved, before = from_start[:, :, distance:], slice(0, N - distance)
        far = moved @ to_end[:, :, before].mT
        parts.append(F.pad(far, (0, 0, 0, 0, distance, 0)))
        through = (moved @ w[:, :, before].mT) @ step[:, :, before]
        from_start = torch.cat([from_start[:, :, :distance], moved - through], dim=2)
    by_distance = torch.stack(parts, dim=3)  # (B, H, N, N, C, C)
    chunk_N = torch.arange(N, device=q.device)
    distance_NN = (chunk_N[:, None] - chunk_N).clamp(min=0)
    index = distance_NN[..., None, None].expand_as(by_distance)
    scores = by_distance.gather(3, index)  # now by the chunk of the keys
    return scores.transpose(3, 4).flatten(4, 5).flatten(2, 3)[:, :, :T, :T]


# ---------------------------------------------------------------- blocks of keys


def _block_means(x: Tensor, size: int) -> Tensor:
    """Returns (B, H, C, ...): the mean of each block of `size` positions of x (B, H, T, ...)."""
    T = x.shape[2]
    blocks = -(-T // size)
    total = F.pad(x, (0, 0, 0, blocks * size - T)).unflatten(2, (blocks, size)).sum(dim=3)
    count = torch.full((blocks, 1), size, dtype=x.dtype, device=x.device)
    count[-1] = T - (blocks - 1) * size
    return total / count


def parallel_nsa(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g_cmp: Tensor | None = None,
    g_slc: Tensor | None = None,
    g_swa: Tensor | None = None,
    block_indices: Tensor | None = None,
    block_counts: Tensor | int = 16,
    block_size: int = 64,
    window_size: int = 0,
    scale: float | None = None,
    cu_seqlens: Tensor | tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Attention to means of past blocks, to the best blocks, and to a window, each times its gate.

    The gates are (B, T, HQ). Of a group of query heads, the means' weights choose `block_counts`
    blocks for each token, among them the first, its own and the one before; or `block_indices`
    (B, T, H, blocks) name them, -1 for none. cu_seqlens may be a pair, for queries and for keys,
    if both are the same. Yuan et al. arXiv:2502.11089.
    """
    if isinstance(cu_seqlens, tuple):
        of_queries, of_keys = cu_seqlens
        if not torch.equal(of_queries, of_keys):
            raise NotImplementedError("the stand-in of parallel_nsa has no cu_seqlens of queries")
        cu_seqlens = of_queries
    check_packed(q, cu_seqlens)
    if g_cmp is None and block_indices is None:
        raise ValueError(
            "parallel_nsa needs g_cmp or block_indices to know its blocks, got neither"
        )
    if not isinstance(block_counts, int):
        raise NotImplementedError("the stand-in of parallel_nsa takes one block_counts for all")
    count, dtype = block_counts, q.dtype
    scale = q.shape[-1] ** -0.5 if scale is None else scale

    def run(inputs: Sequence[Any], _: Sequence[Any]) -> tuple[Tensor, list[Tensor]]:
        q, k, v, g_cmp, g_slc, g_swa, chosen = inputs
        groups, T = q.shape[2] // k.shape[2], q.shape[1]
        q, k, v = _to_heads(q, k, v)
        place, block = torch.arange(T, device=q.device), torch.arange(T, device=q.device)
        block = block // block_size
        blocks = -(-T // block_size)
        number = torch.arange(blocks, device=q.device)
        past = (number + 1) * block_size - 1 <= place[:, None]  # (T, C)
        means = _block_means(k, block_size)
        weights = _softmax(scale * (q @ means.mT), past)
        if chosen is None:
            chosen = _best_blocks(
                weights.unflatten(1, (-1, groups)).mean(dim=2), past, block, count
            )
        else:
            chosen = _named_blocks(chosen, blocks)
        chosen = chosen.repeat_interleave(groups, dim=1)[..., block]  # (B, HQ, T, T)
        score, earlier = scale * (q @ k.mT), place <= place[:, None]
        o = _softmax(score, chosen & earlier) @ v
        o = o if g_slc is None else o * _gate(g_slc)
        if g_cmp is not None:
            o = o + (weights @ _block_means(v, block_size)) * _gate(g_cmp)
        if window_size > 0:
            near = earlier & (place[:, None] - place < window_size)
            o = o + (_softmax(score, near) @ v) * _gate(g_swa)
        return o.transpose(1, 2), []

    inputs = [q, k, v, *(None if x is None else wide(x) for x in (g_cmp, g_slc, g_swa))]
    o, _ = by_sequence(run, [*inputs, block_indices], [], cu_seqlens)
    return o.to(dtype)


def _gate(g: Tensor) -> Tensor:
    return g.transpose(1, 2)[..., None]


def _best_blocks(weights: Tensor, past: Tensor, block: Tensor, count: int) -> Tensor:
    """Returns (B, H, T, C): True for the blocks of most weight that a token may see."""
    number = torch.arange(past.shape[-1], device=past.device)
    own = block[:, None]
    always = (number == own) | (number == 0) | (number == own - 1)
    rank = torch.where(always, 1.0, weights)
    best = rank.topk(min(count, rank.shape[-1]), dim=-1).indices
    return torch.zeros_like(rank, dtype=torch.bool).scatter(-1, best, True) & (past | always)


def _named_blocks(indices: Tensor, blocks: int) -> Tensor:
    """Returns (B, H, T, C) of indices (B, T, H, blocks); negative ones name none."""
    indices = indices.transpose(1, 2)
    named = indices.new_zeros(*indices.shape[:-1], blocks + 1, dtype=torch.bool)
    return named.scatter(-1, indices.where(indices >= 0, blocks), True)[..., :-1]


def parallel_moba(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_seqlens: Tensor | None,
    max_seqlen: int,
    chunk_size: int,
    topk: int,
) -> Tensor:
    """Softmax attention to the token's own chunk, and to the topk - 1 past chunks of the best mean.

    A chunk's rank is q_t . (mean of its keys); it is past if it ends before the token's own begins.
    Lu et al. arXiv:2502.13189.
    """
    del max_seqlen  # how fla splits the work
    check_packed(q, cu_seqlens)
    dtype, scale = q.dtype, q.shape[-1] ** -0.5

    def run(inputs: Sequence[Any], _: Sequence[Any]) -> tuple[Tensor, list[Tensor]]:
        q, k, v = _to_heads(*inputs)
        place = torch.arange(q.shape[2], device=q.device)
        chunk = place // chunk_size
        means = _block_means(k, chunk_size)
        number = torch.arange(means.shape[2], device=q.device)
        past = (number < chunk[:, None]).expand(*q.shape[:3], -1)
        rank = (q @ means.mT).masked_fill(~past, -torch.inf)
        best = rank.topk(min(topk - 1, rank.shape[-1]), dim=-1).indices
        seen = torch.zeros_like(past).scatter(-1, best, True) & past
        seen = (seen | (number == chunk[:, None]))[..., chunk] & (place <= place[:, None])
        return (_softmax(scale * (q @ k.mT), seen) @ v).transpose(1, 2), []

    o, _ = by_sequence(run, [q, k, v], [], cu_seqlens)
    return o.to(dtype)


FLASH: dict[str, Callable[..., Tensor]] = {
    "flash_attn_func": flash_attn_func,
    "flash_attn_varlen_func": flash_attn_varlen_func,
}
