"""Further recurrences that layers import from `fla.ops`, by way of `move37.nn.ops`.

The same names, arguments and results as there, as in `operators`: q, k (B, T, H, K) and
v (B, T, H, V) in; the output (B, T, H, V) and, if asked for, the final state out. All are exact in
float64, can be differentiated, and cost less than the square of the length.

Covered: gated slot attention and ABC, RWKV-6 and RWKV-7, Comba, Gated DeltaNet-2, DeltaProduct,
preconditioned delta rules, HGRN, LightNet, MesaNet, Based and ReBased, log-linear attention.
Not covered: reversed time, sequences split over devices, the state of log-linear attention.

Shape letters: B batch, T time, H heads, K key size, V value size, M slots, L levels, D width,
N sequences, C chunk.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from move37.nn.interop.modules import check_packed, document_numbers, l2norm, wide
from move37.nn.interop.operators import Result, check_options, fused_kda_gate, run_recurrence

# Small, since the decays of a chunk are held for each pair of positions and each slot.
_SLOT_CHUNK = 16
# Up to this many keys, a block of log-linear attention is computed by its pairs of positions.
_PAIRS = 16


def by_sequence(
    run: Callable[[Sequence[Any], Sequence[Any]], tuple[Tensor, list[Tensor]]],
    inputs: Sequence[Tensor | None],
    states: Sequence[Tensor | None],
    cu_seqlens: Tensor | None,
) -> tuple[Tensor, list[Tensor]]:
    """Returns the outputs and states of `run`, applied to each packed sequence by itself.

    `run` maps inputs (B, T, ...) and states (B, ...) to the outputs and the states behind them.
    """
    if cu_seqlens is None:
        return run(inputs, states)
    found = [
        run(
            [None if x is None else x[:, first:last] for x in inputs],
            [None if x is None else x[n : n + 1] for x in states],
        )
        for n, (first, last) in enumerate(pairwise(cu_seqlens.tolist()))
    ]
    outputs = torch.cat([o for o, _ in found], dim=1)
    return outputs, [torch.cat(each) for each in zip(*(after for _, after in found), strict=True)]


def _repeated(groups: int, *tensors: Tensor | None, dim: int) -> list[Any]:
    return [None if x is None else x.repeat_interleave(groups, dim=dim) for x in tensors]


# ---------------------------------------------------------------- slots


def additive_gate(
    x: Tensor, before: Tensor | None = None, cu_seqlens: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns exp(x_t - z_t), z_{t-1} - z_t and the last z, where z_t = log sum_{s <= t} exp(x_s).

    x (B, T, H, M); z before the first position is `before` (N, H, M), or z_1 if that is None.
    """

    def run(inputs: Sequence[Any], states: Sequence[Any]) -> tuple[Tensor, list[Tensor]]:
        (x,), (first,) = inputs, states
        if first is None:
            z = x.logcumsumexp(dim=1)
            first = z[:, 0]
        else:
            z = torch.cat([first[:, None].to(x.dtype), x], dim=1).logcumsumexp(dim=1)[:, 1:]
        earlier = torch.cat([first[:, None].to(x.dtype), z[:, :-1]], dim=1)
        return torch.cat([(x - z).exp(), earlier - z], dim=-1), [z[:, -1]]

    both, (last,) = by_sequence(run, [wide(x)], [before], cu_seqlens)
    shares, gates = both.chunk(2, dim=-1)
    return shares, gates, last


def _read_slots(inputs: Sequence[Any], states: Sequence[Any]) -> tuple[Tensor, list[Tensor]]:
    """S <- S diag(exp(g_t)) + k_t s_t^T;  o_t = S^T q_t: slots s (B, T, H, M) decay, not keys.

    Returns o (B, T, H, M) and S (B, H, K, M).
    """
    (q, k, s, g), (S,) = inputs, states
    (B, T, H, K), M, C = q.shape, s.shape[-1], _SLOT_CHUNK
    chunks = -(-T // C)

    def split(x: Tensor) -> Tensor:  # (B, T, H, X) to (chunks, B, H, C, X)
        x = torch.nn.functional.pad(x, (0, 0, 0, 0, 0, chunks * C - T))
        return x.unflatten(1, (chunks, C)).permute(1, 0, 3, 2, 4)

    q, k, s, g = (split(x) for x in (q, k, s, g))
    total = g.cumsum(dim=-2)
    earlier_CC = torch.ones(C, C, dtype=torch.bool, device=q.device).tril()
    decay = total[..., :, None, :] - total[..., None, :, :]
    decay = decay.masked_fill(~earlier_CC[..., None], -torch.inf).exp()
    own = torch.einsum("...ij,...ijm,...jm->...im", q @ k.mT, decay, s)
    end = total[..., -1:, :]
    stored, kept = k.mT @ (s * (end - total).exp()), end.exp()
    S = q.new_zeros(B, H, K, M) if S is None else S.to(q.dtype)
    before = []
    for new, share in zip(stored.unbind(), kept.unbind(), strict=True):
        before.append(S)
        S = S * share + new
    o = own + (q @ torch.stack(before)) * total.exp()
    return o.permute(1, 0, 3, 2, 4).flatten(1, 2)[:, :T], [S]


def _slots(
    name: str,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    s: Tensor,
    g: Tensor | None,
    scale: float | None,
    initial_state: Sequence[Tensor | None] | None,
    output_final_state: bool,
    cu_seqlens: Tensor | None,
    options: dict[str, Any],
) -> tuple[Tensor, list[Tensor | None]]:
    check_options(name, options)
    keys, values = (None, None) if initial_state is None else initial_state
    check_packed(q, cu_seqlens, keys)
    dtype = v.dtype
    if g is None:
        s, g, _ = additive_gate(s, None, cu_seqlens)
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    groups = q.shape[2] // k.shape[2]
    q, k, v, s, g = (wide(x) for x in (q, k, v, s, g))
    if groups > 1:  # more query heads than key heads
        k, v, s, g = _repeated(groups, k, v, s, g, dim=2)
        keys, values = _repeated(groups, keys, values, dim=1)
    read, (keys,) = by_sequence(_read_slots, [q * scale, k, s, g], [keys], cu_seqlens)
    o, values = run_recurrence(
        name,
        read.softmax(dim=-1),
        s,
        v,
        log_decay=g,
        scale=1.0,
        initial_state=values,
        output_final_state=output_final_state,
        cu_seqlens=cu_seqlens,
        options={},
    )
    if not output_final_state:
        return o.to(dtype), [None, None]
    return o.to(dtype), [x if x is None else x[:, ::groups] for x in (keys, values)]


def chunk_gsa(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    s: Tensor,
    g: Tensor | None = None,
    scale: float | None = None,
    initial_state: Sequence[Tensor | None] | None = None,
    output_final_state: bool = False,
    *,
    checkpoint_level: int = 2,
    cu_seqlens: Tensor | None = None,
    **options: Any,
) -> tuple[Tensor, list[Tensor | None]]:
    """p_t = softmax(scale K_t^T q_t), o_t = V_t^T p_t, with slots for keys and for values.

    K <- K diag(exp(g_t)) + k_t s_t^T of shape (K, M);  V <- diag(exp(g_t)) V + s_t v_t^T of shape
    (M, V); s and g are (B, T, H, M). Without g they are those of `additive_gate` for s. States are
    the pair K (N, H, K, M), V (N, H, M, V). Zhang et al. arXiv:2409.07146.
    """
    del checkpoint_level  # what fla computes again, not what it computes
    rest = (scale, initial_state, output_final_state, cu_seqlens, options)
    return _slots("chunk_gsa", q, k, v, s, g, *rest)


def fused_recurrent_gsa(
    q: Tensor, k: Tensor, v: Tensor, s: Tensor, g: Tensor | None = None, **options: Any
) -> tuple[Tensor, list[Tensor | None]]:
    """`chunk_gsa` by the other name."""
    return chunk_gsa(q, k, v, s, g, **options)


def chunk_abc(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    s: Tensor,
    initial_state: Sequence[Tensor | None] | None = None,
    output_final_state: bool = False,
    **options: Any,
) -> tuple[Tensor, list[Tensor | None]]:
    """`chunk_gsa` where slot m keeps the share exp(s_t) of all exp(s) so far. arXiv:2110.02488."""
    rest = (None, initial_state, output_final_state, None, options)
    return _slots("chunk_abc", q, k, v, s, None, *rest)


# ---------------------------------------------------------------- RWKV


def chunk_rwkv6(
    r: Tensor,
    k: Tensor,
    v: Tensor,
    w: Tensor,
    u: Tensor,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
    *,
    cu_seqlens: Tensor | None = None,
    **options: Any,
) -> Result:
    """o_t = scale (S + diag(u) k_t v_t^T)^T r_t;  S <- diag(exp(w_t)) S + k_t v_t^T.

    w (B, T, H, K) is the logarithm of the decay, u (H, K) the weight of the token itself.
    Peng et al. arXiv:2404.05892.
    """
    name = "chunk_rwkv6"
    check_options(name, options)
    check_packed(r, cu_seqlens, initial_state)
    dtype = v.dtype
    r, k, v, w, u = (wide(x) for x in (r, k, v, w, u))
    r = r * (r.shape[-1] ** -0.5 if scale is None else scale)
    own = (r * u * k).sum(dim=-1, keepdim=True) * v

    # The state is read before the token is stored: as if each were stored a position later.
    def run(inputs: Sequence[Any], states: Sequence[Any]) -> tuple[Tensor, list[Tensor]]:
        later = [_later(x) for x in inputs[1:]]
        r = torch.cat([inputs[0], torch.zeros_like(inputs[0][:, :1])], dim=1)
        k, v, w = later
        o, S = run_recurrence(
            name,
            r,
            k,
            v,
            log_decay=w,
            scale=1.0,
            initial_state=states[0],
            output_final_state=True,
            options={},
        )
        assert S is not None  # it was asked for
        return o[:, :-1], [S]

    if initial_state is not None or output_final_state:
        o, (S,) = by_sequence(run, [r, k, v, w], [initial_state], cu_seqlens)
        return (o + own).to(dtype), S if output_final_state else None
    k, v, w = (_later(x)[:, :-1] for x in (k, v, w))
    if cu_seqlens is not None:  # the first token of a sequence finds nothing stored
        starts_1T11 = _starts(r, cu_seqlens)[..., None, None]
        k, v, w = (x.masked_fill(starts_1T11, 0) for x in (k, v, w))
    o, _ = run_recurrence(name, r, k, v, log_decay=w, scale=1.0, cu_seqlens=cu_seqlens, options={})
    return (o + own).to(dtype), None


def _later(x: Tensor) -> Tensor:
    return torch.cat([torch.zeros_like(x[:, :1]), x], dim=1)


def _starts(x: Tensor, cu_seqlens: Tensor) -> Tensor:
    """Returns (1, T): True for the first position of each sequence."""
    number_1T = document_numbers(cu_seqlens, x.shape[1])
    return torch.cat([torch.ones_like(number_1T[:, :1]), number_1T.diff()], dim=1) > 0


def fused_recurrent_rwkv6(
    r: Tensor, k: Tensor, v: Tensor, w: Tensor, u: Tensor, *rest: Any, **options: Any
) -> Result:
    """`chunk_rwkv6` by the other name."""
    return chunk_rwkv6(r, k, v, w, u, *rest, **options)


def chunk_dplr_delta_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    a: Tensor,
    b: Tensor,
    gk: Tensor,
    *,
    safe_gate: bool = False,
    lower_bound: float | None = None,
    **options: Any,
) -> Result:
    """S <- diag(exp(gk_t)) S + b_t (S^T a_t)^T + k_t v_t^T;  o_t = scale S^T q_t.

    a, b and gk are (B, T, H, K); the states to the right are those before the token.
    Peng et al. arXiv:2503.14456.
    """
    del safe_gate, lower_bound  # what fla's kernel may assume of gk
    name = "chunk_dplr_delta_rule"
    return run_recurrence(
        name,
        q,
        k,
        v,
        erase=wide(a),
        write=wide(b),
        log_decay=gk,
        **_taken(options),
        options=options,
    )


def _taken(options: dict[str, Any]) -> dict[str, Any]:
    """Takes out of the options, and returns, what `run_recurrence` has by name."""
    names = (
        "scale",
        "initial_state",
        "output_final_state",
        "cu_seqlens",
        "use_qk_l2norm_in_kernel",
        "state_v_first",
    )
    return {name: options.pop(name) for name in names if name in options}


def chunk_rwkv7(
    r: Tensor,
    w: Tensor,
    k: Tensor,
    v: Tensor,
    a: Tensor,
    b: Tensor,
    scale: float | None = 1.0,
    **options: Any,
) -> Result:
    """`chunk_dplr_delta_rule` with r for the query and w for the logarithm of the decay."""
    return chunk_dplr_delta_rule(r, k, v, a, b, w, scale=scale, **options)


def fused_mul_recurrent_rwkv7(
    r: Tensor,
    w: Tensor,
    k: Tensor,
    v: Tensor,
    kk: Tensor,
    a: Tensor,
    scale: float | None = 1.0,
    **options: Any,
) -> Result:
    """`chunk_rwkv7` that erases along -kk and writes along kk a."""
    return chunk_rwkv7(r, w, k, v, -kk, kk * a, scale, **options)


def fused_addcmul_rwkv7(
    hidden_states: Tensor,
    delta: Tensor,
    xr: Tensor,
    xw: Tensor,
    xk: Tensor,
    xv: Tensor,
    xa: Tensor,
    xg: Tensor | None = None,
) -> tuple[Tensor | None, ...]:
    """hidden_states + delta share, for each of six shares (1, 1, D); None without xg."""
    shares = (xr, xw, xk, xv, xa, xg)
    return tuple(None if x is None else hidden_states + delta * x for x in shares)


def fused_k_rwkv7(k: Tensor, a: Tensor, ka: Tensor, **_: object) -> Tensor:
    """k (1 + (a - 1) ka)."""
    return k.addcmul(k * (a - 1), ka)


def gate_output_correction(
    o: Tensor, r: Tensor, k: Tensor, r_k: Tensor, v: Tensor, g: Tensor
) -> Tensor:
    """(o + (sum over channels of r k r_k) v) g; o and g (B, T, H V), r_k (H, K)."""
    return (o + ((r * k * r_k).sum(dim=-1, keepdim=True) * v).flatten(-2)) * g


# ---------------------------------------------------------------- delta rules with other keys


def chunk_comba(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    # By name only: fla's two operators have them in different places.
    *,
    p: Tensor | None = None,
    g: Tensor,
    beta: Tensor | None = None,
    use_qk_l2norm_in_kernel: bool = False,
    **options: Any,
) -> Result:
    """S <- exp(g_t) S, then S <- S + b_t k_t (v_t - S^T p_t)^T;  o_t = scale S^T q_t.

    p (B, T, H, K) is the key that is read before the write, k without it; g (B, T, H).
    Hu et al. arXiv:2506.02475.
    """
    p = k if p is None else p
    q, k, p = (wide(x) for x in (q, k, p))
    if use_qk_l2norm_in_kernel:
        q, k, p = l2norm(q), l2norm(k), l2norm(p)
    groups = v.shape[2] // k.shape[2]
    q, k, p = _repeated(groups, q, k, p, dim=2)
    g = g.to(k.dtype)[..., None]
    b = torch.ones_like(g) if beta is None else beta.to(k.dtype)[..., None]
    o, state = run_recurrence(
        "chunk_comba",
        q,
        k,
        b * wide(v),
        erase=g.exp() * p,
        write=-b * k,
        log_decay=g[..., 0],
        **_taken(options),
        options=options,
    )
    return o.to(v.dtype), state


def fused_recurrent_comba(q: Tensor, k: Tensor, **options: Any) -> Result:
    """`chunk_comba` by the other name."""
    return chunk_comba(q, k, **options)


def chunk_gdn2(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    b: Tensor,
    w: Tensor,
    *,
    use_qk_l2norm_in_kernel: bool = False,
    use_gate_in_kernel: bool = False,
    A_log: Tensor | None = None,
    dt_bias: Tensor | None = None,
    lower_bound: float | None = None,
    safe_gate: bool = False,
    transpose_state_layout: bool = False,
    **options: Any,
) -> Result:
    """S <- diag(exp(g_t)) S, then S <- S + k_t (w_t v_t - S^T (b_t k_t))^T;  o_t = scale S^T q_t.

    g and b are (B, T, H, K), w (B, T, H, V): what is erased has a gate for each channel of the key,
    what is written for each channel of the value. With `use_gate_in_kernel` g goes through
    `fused_kda_gate`.
    """
    del safe_gate  # what fla's kernel may assume of g
    if use_gate_in_kernel:
        g = fused_kda_gate(g, A_log, dt_bias, lower_bound)
    q, k = wide(q), wide(k)
    if use_qk_l2norm_in_kernel:
        q, k = l2norm(q), l2norm(k)
    q, k = _repeated(v.shape[2] // k.shape[2], q, k, dim=2)
    g = g.to(k.dtype)
    options["state_v_first"] = options.pop("state_v_first", False) or transpose_state_layout
    o, state = run_recurrence(
        "chunk_gdn2",
        q,
        k,
        wide(w) * wide(v),
        erase=g.exp() * b.to(k.dtype) * k,
        write=-k,
        log_decay=g,
        **_taken(options),
        options=options,
    )
    return o.to(v.dtype), state


def fused_recurrent_gdn2(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, b: Tensor, w: Tensor, **options: Any
) -> Result:
    """`chunk_gdn2` by the other name."""
    return chunk_gdn2(q, k, v, g, b, w, **options)


def chunk_gated_delta_product(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None,
    beta: Tensor,
    num_householder: int,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
    use_qk_l2norm_in_kernel: bool = False,
    cu_seqlens: Tensor | None = None,
    **options: Any,
) -> Result:
    """Per token one decay exp(g_t), then n steps of the delta rule, then one read.

    q is (B, T, H, K) and g (B, T, H); k, v and beta have n = `num_householder` times as many
    positions, those of a token side by side. Siems et al. arXiv:2502.10297.
    """
    n, name = num_householder, "chunk_gated_delta_product"
    check_options(name, options)
    check_packed(q, cu_seqlens, initial_state)

    def spread(x: Tensor, at: int) -> Tensor:
        """Puts x (B, T, ...) at the step `at` of each token, zeros at the others."""
        steps = [torch.zeros_like(x)] * n
        steps[at] = x
        return torch.stack(steps, dim=2).flatten(1, 2)

    if use_qk_l2norm_in_kernel:
        q, k = l2norm(q), l2norm(k)
    o, state = run_recurrence(
        name,
        spread(q, n - 1),
        k,
        v,
        beta=beta,
        log_decay=None if g is None else spread(g, 0),
        scale=scale,
        initial_state=initial_state,
        output_final_state=output_final_state,
        cu_seqlens=None if cu_seqlens is None else cu_seqlens * n,
        options={},
    )
    return o.unflatten(1, (-1, n))[:, :, -1], state


def _preconditioned(
    k: Tensor,
    g_atk: Tensor,
    beta_atk: Tensor,
    state: Tensor | None,
    cu_seqlens: Tensor | None,
    base: float,
    eps: float,
    log_atk_scale: Tensor | float | None,
) -> tuple[Tensor, Tensor]:
    """Returns the keys to write along, k base^(-s), and the last A (N, H, K).

    A <- exp(g_atk) A + beta_atk k^2 per channel, r = log(A + eps) - log_atk_scale and
    s = r / (1 + |r|).
    """
    A, last = chunk_hgrn(
        (beta_atk[..., None] * k.square()).flatten(2),
        g_atk[..., None].expand_as(k).flatten(2),
        None if state is None else state.flatten(1),
        True,
        cu_seqlens=cu_seqlens,
    )
    assert last is not None  # it was asked for
    centre: Any = -0.2 if log_atk_scale is None else log_atk_scale
    if isinstance(centre, Tensor):
        centre = centre.to(k.dtype).view(-1, 1)
    ratio = (A.view_as(k) + eps).log() - centre
    squashed = ratio / (1 + ratio.abs())
    return k * torch.as_tensor(base, dtype=k.dtype, device=k.device) ** -squashed, last.view(
        -1, *k.shape[2:]
    )


def chunk_precond_gated_delta_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g_atk: Tensor,
    g: Tensor,
    beta_atk: Tensor,
    beta: Tensor,
    *,
    initial_A_state: Tensor | None = None,
    output_final_state: bool = False,
    use_qk_l2norm_in_kernel: bool = True,
    cu_seqlens: Tensor | None = None,
    x: float = 1.5,
    eps: float = 1e-6,
    log_atk_scale: Tensor | float | None = None,
    **options: Any,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The gated delta rule that reads along k and writes along the key of `_preconditioned`.

    g_atk and beta_atk (B, T, H) are the decay (in logarithms) and the rate of a mean of squared
    keys. Returns the output, the final state, and the final mean (N, H, K).
    """
    q, k = wide(q), wide(k)
    if use_qk_l2norm_in_kernel:
        q, k = l2norm(q), l2norm(k)
    groups = v.shape[2] // k.shape[2]
    mean = (initial_A_state, cu_seqlens, x, eps, log_atk_scale)
    written, A = _preconditioned(k, g_atk.to(k.dtype), beta_atk.to(k.dtype), *mean)
    q, k, written = _repeated(groups, q, k, written, dim=2)
    g, beta = g.to(k.dtype), beta.to(k.dtype)
    channels = g if g.ndim == k.ndim else g[..., None]
    options["state_v_first"] = options.pop("transpose_state_layout", False)
    o, state = run_recurrence(
        "chunk_precond_gated_delta_rule",
        q,
        written,
        beta[..., None] * wide(v),
        erase=channels.exp() * k,
        write=-beta[..., None] * written,
        log_decay=g,
        output_final_state=output_final_state,
        cu_seqlens=cu_seqlens,
        **_taken(options),
        options=options,
    )
    return o.to(v.dtype), state, A if output_final_state else None


def chunk_precond_kda(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    g_atk: Tensor,
    beta_atk: Tensor,
    beta: Tensor,
    *,
    use_gate_in_kernel: bool = False,
    A_log: Tensor | None = None,
    dt_bias: Tensor | None = None,
    lower_bound: float | None = None,
    safe_gate: bool = False,
    use_qk_l2norm_in_kernel: bool = False,
    **options: Any,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """`chunk_precond_gated_delta_rule` with a decay for each key channel: g (B, T, H, K)."""
    del safe_gate  # what fla's kernel may assume of g
    if use_gate_in_kernel:
        g = fused_kda_gate(g, A_log, dt_bias, lower_bound)
    return chunk_precond_gated_delta_rule(
        q,
        k,
        v,
        g_atk,
        g,
        beta_atk,
        beta,
        use_qk_l2norm_in_kernel=use_qk_l2norm_in_kernel,
        **options,
    )


# ---------------------------------------------------------------- sums with decays


def chunk_hgrn(
    x: Tensor,
    g: Tensor,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
    *,
    cu_seqlens: Tensor | None = None,
    **options: Any,
) -> Result:
    """h <- exp(g_t) h + x_t, per channel; x and g (B, T, D). Returns all h, and the last (N, D).

    Qin et al. arXiv:2311.04823.
    """
    one = torch.ones_like(x)[..., None]
    h, last = run_recurrence(
        "chunk_hgrn",
        one,
        one,
        x[..., None],
        log_decay=g,
        scale=1.0,
        initial_state=None if initial_state is None else initial_state[..., None, None],
        output_final_state=output_final_state,
        cu_seqlens=cu_seqlens,
        options=options,
    )
    return h[..., 0], None if last is None else last[..., 0, 0]


def chunk_lightnet(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scale: float | None = None,
    initial_state: tuple[Tensor | None, Tensor | None] | None = None,
    output_final_state: bool = False,
    *,
    cu_seqlens: Tensor | None = None,
    **options: Any,
) -> tuple[Tensor, tuple[Tensor | None, Tensor]]:
    """Linear attention with keys and decays by `additive_gate` of k (B, T, H, K).

    The state is the memory (N, H, K, V), and the last sum of `additive_gate` (N, H, K).
    Qin et al. arXiv:2405.21022.
    """
    memory, total = (None, None) if initial_state is None else initial_state
    check_packed(q, cu_seqlens, memory)
    share, gate, last = additive_gate(k, total, cu_seqlens)
    o, state = run_recurrence(
        "chunk_lightnet",
        q,
        share,
        v,
        log_decay=gate,
        scale=scale,
        initial_state=memory,
        output_final_state=output_final_state,
        cu_seqlens=cu_seqlens,
        state_v_first=options.pop("state_v_first", False),
        options=options,
    )
    return o, (state, last)


def chunk_mesa_net(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    beta: Tensor,
    lamb: Tensor,
    h_kk_init: Tensor | None = None,
    h_kv_init: Tensor | None = None,
    output_final_state: bool = False,
    max_CG_iteration: int = 30,
    use_qk_l2norm_in_kernel: bool = False,
    cu_seqlens: Tensor | None = None,
    **options: Any,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """o_t = G^T (H + diag(lamb))^-1 q_t, where G and H store k v^T and k k^T.

    H <- exp(g_t) H + b_t k_t k_t^T;  G <- exp(g_t) G + b_t k_t v_t^T. q is not scaled; lamb (H, K).
    fla takes `max_CG_iteration` steps of conjugate gradients towards the solution; here it is
    solved. Returns o, H and G (N, H, K, K). von Oswald et al. arXiv:2506.05233.
    """
    del max_CG_iteration
    name, dtype = "chunk_mesa_net", v.dtype
    check_options(name, options)
    check_packed(q, cu_seqlens, h_kk_init)
    q, k, v, g, beta = (wide(x) for x in (q, k, v, g, beta))
    if use_qk_l2norm_in_kernel:
        q, k = l2norm(q), l2norm(k)
    stored, K = beta[..., None] * k, k.shape[-1]
    one = torch.ones_like(k[..., :1])
    shared: dict[str, Any] = {"log_decay": g, "scale": 1.0, "options": {}}
    shared |= {"cu_seqlens": cu_seqlens, "output_final_state": output_final_state}
    outer = (stored[..., :, None] * k[..., None, :]).flatten(-2)
    H, H_last = run_recurrence(
        name,
        one,
        one,
        outer,
        initial_state=None if h_kk_init is None else h_kk_init.flatten(-2)[..., None, :],
        **shared,
    )
    ridge = torch.diag_embed(lamb.to(k.dtype))
    solved = torch.linalg.solve(H.unflatten(-1, (K, K)) + ridge, q[..., None])[..., 0]
    o, G_last = run_recurrence(name, solved, stored, v, initial_state=h_kv_init, **shared)
    if H_last is not None:
        H_last = H_last.unflatten(-1, (K, K))[:, :, 0]
    return o.to(dtype), H_last, G_last


def _squares(x: Tensor) -> Tensor:
    """Returns y (..., K (K + 1) / 2) with y(a) . y(b) = (a . b)^2."""
    K = x.shape[-1]
    first, second = torch.triu_indices(K, K, device=x.device)
    weight = torch.full_like(x[..., first], 2**0.5).masked_fill(first == second, 1.0)
    return x[..., first] * x[..., second] * weight


def parallel_based(
    q: Tensor, k: Tensor, v: Tensor, scale: float | None = None, use_norm: bool = True
) -> Tensor:
    """Attention with weights 1 + a + a^2 / 2, a = scale q . k. Arora et al. arXiv:2402.18668."""
    dtype = q.dtype
    q, k, v = wide(q), wide(k), wide(v)
    q = q * (q.shape[-1] ** -0.5 if scale is None else scale)
    q, k = (
        torch.cat([torch.ones_like(x[..., :1]), x, _squares(x) / 2**0.5], dim=-1) for x in (q, k)
    )
    o, total = _with_total("parallel_based", q, k, v)
    return (o / (total + 1e-6) if use_norm else o).to(dtype)


def parallel_rebased(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    eps: float = 1e-5,
    use_scale: bool = True,
    use_normalize: bool = True,
    return_both: bool = False,
) -> Any:
    """Attention with weights (scale q . k)^2. Aksenov et al. arXiv:2402.10644.

    With `return_both`, the sums (B, H, T, V) and of the weights (B, H, T) without the division.
    """
    dtype = q.dtype
    q, k, v = wide(q), wide(k), wide(v)
    q = q * (q.shape[-1] ** -0.5 if use_scale else 1.0)
    o, total = _with_total("parallel_rebased", _squares(q), _squares(k), v)
    if return_both:
        return o.transpose(1, 2), total[..., 0].transpose(1, 2)
    return (o / (total + eps) if use_normalize else o).to(dtype)


def _with_total(name: str, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the sum of weighted values (B, T, H, V), and of the weights (B, T, H, 1)."""
    # The sum of weights is what a value of one would store.
    v = torch.cat([v, torch.ones_like(v[..., :1])], dim=-1)
    o, _ = run_recurrence(name, q, k, v, scale=1.0, options={})
    return o[..., :-1], o[..., -1:]


# ---------------------------------------------------------------- log-linear attention


class LogLinearAttentionState:
    """The name for signatures; the stand-in keeps no state of log-linear attention."""


def chunk_log_linear_attn(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    level_scales: Tensor,
    initial_state: LogLinearAttentionState | None = None,
    output_final_state: bool = False,
    cu_seqlens: Tensor | None = None,
    scale: float | None = 1.0,
    **options: Any,
) -> tuple[Tensor, None]:
    """o_t = scale sum over s <= t of c_t[l(t, s)] exp(g_{s+1} + ... + g_t) (q_t . k_s) v_s.

    c is level_scales (B, T, H, L), and l(t, t) = 0; otherwise 2^l is the size of the aligned block
    that holds s in its first and t in its second half. g (B, T, H); value heads share key heads in
    groups. Time O(T log T). Raises ValueError if L levels do not cover T.
    Guo et al. arXiv:2506.04761.
    """
    check_options("chunk_log_linear_attn", options)
    if initial_state is not None or output_final_state:
        raise NotImplementedError("the stand-in of chunk_log_linear_attn keeps no states")
    check_packed(q, cu_seqlens)
    groups, dtype = v.shape[2] // k.shape[2], v.dtype
    q, k = _repeated(groups, wide(q), wide(k), dim=2)
    q = q * (q.shape[-1] ** -0.5 if scale is None else scale)
    inputs = [q, k, *(wide(x) for x in (v, g, level_scales))]
    o, _ = by_sequence(_log_linear, inputs, [], cu_seqlens)
    return o.to(dtype), None


def _log_linear(inputs: Sequence[Any], _: Sequence[Any]) -> tuple[Tensor, list[Tensor]]:
    q, k, v, g, level_scales = (x.transpose(1, 2) for x in inputs)  # (B, H, T, ...)
    T, levels = q.shape[2], (q.shape[2] - 1).bit_length()
    if level_scales.shape[-1] <= levels:
        raise ValueError(
            f"expected at least {levels + 1} level_scales for {T} positions, got "
            f"{level_scales.shape[-1]}"
        )
    o = level_scales[..., :1] * (q * k).sum(dim=-1, keepdim=True) * v
    for level in range(1, levels + 1):
        half = 1 << (level - 1)
        blocks = -(-T // (2 * half))

        def halves(x: Tensor, half: int = half, blocks: int = blocks) -> Tensor:
            x = torch.nn.functional.pad(x, (0, 0, 0, 2 * half * blocks - T))
            return x.unflatten(2, (blocks, 2, half))

        total = halves(g[..., None]).flatten(3, 4).cumsum(dim=3).unflatten(3, (2, half))
        border = total[:, :, :, 0, -1:]
        keys = halves(k)[:, :, :, 0] * (border - total[:, :, :, 0]).exp()
        queries = halves(q)[:, :, :, 1] * (total[:, :, :, 1] - border).exp()
        values, scales = halves(v)[:, :, :, 0], halves(level_scales[..., level, None])[:, :, :, 1]
        by_pairs = half <= _PAIRS
        read = queries @ keys.mT @ values if by_pairs else queries @ (keys.mT @ values)
        both = torch.stack([torch.zeros_like(read), scales * read], dim=3)
        o = o + both.flatten(2, 4)[:, :, :T]
    return o.transpose(1, 2), []
