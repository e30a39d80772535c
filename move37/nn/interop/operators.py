"""What layers import from `fla.ops`, by way of `move37.nn.ops`.

The same names, arguments and results as there: q, k (B, T, H, K) and v (B, T, H, V) in; the output
(B, T, H, V) and, where asked for, the final state (N, H, K, V) out, N the number of sequences. The
options that are not covered (reversed time, sequences split over devices) raise
NotImplementedError with the option's name.

Ours neither take a state nor return one, and need not: K tokens put before the first write any
state into an empty memory, and K tokens behind the last read the state out of it.

Shape letters: B batch, T time, H heads, K key size, V value size, N sequences, S positions.
"""

from itertools import pairwise
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from move37.nn import ops
from move37.nn.interop.modules import check_packed, document_numbers, l2norm, wide

Result = tuple[Tensor, Tensor | None]

# How fla splits the work, not what it computes.
_WITHOUT_EFFECT = frozenset({"cu_seqlens_cpu", "chunk_indices", "chunk_size", "disable_recompute"})


class _Tokens(NamedTuple):
    """What a recurrence is given for each position."""

    q: Tensor  # (B, T, H, K), scaled
    k: Tensor  # (B, T, H, K)
    v: Tensor  # (B, T, H, V)
    beta: Tensor | None  # (B, T, H): the delta rule
    log_decay: Tensor | None  # (B, T, H) or (B, T, H, K)
    # The generalized delta rule: S <- S + write (S^T erase)^T, with S as it was before the decay.
    erase: Tensor | None = None  # (B, T, H, K)
    write: Tensor | None = None  # (B, T, H, K)

    def between(self, first: int, last: int) -> "_Tokens":
        parts: list[Any] = [None if x is None else x[:, first:last] for x in self]
        return _Tokens(*parts)


def run_recurrence(
    name: str,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    beta: Tensor | None = None,
    log_decay: Tensor | None = None,
    erase: Tensor | None = None,
    write: Tensor | None = None,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
    cu_seqlens: Tensor | None = None,
    use_qk_l2norm_in_kernel: bool = False,
    state_v_first: bool = False,
    options: dict[str, Any],
) -> Result:
    """Returns the outputs (B, T, H, V) of a linear recurrence, and its final state (N, H, K, V).

    S <- diag(exp(log_decay_t)) S, then the delta rule if there is beta, or the generalized delta
    rule if there are erase and write; o_t = scale S^T q_t. The name is for error messages. Raises
    NotImplementedError for an option that is not covered.
    """
    check_options(name, options)
    if state_v_first:  # states are (N, H, V, K)
        initial_state = None if initial_state is None else initial_state.mT
    check_packed(q, cu_seqlens, initial_state)
    dtype, groups = v.dtype, v.shape[2] // q.shape[2]
    if use_qk_l2norm_in_kernel:
        q, k = l2norm(q), l2norm(k)
    q, k, v = wide(q), wide(k), wide(v)
    q = q * (k.shape[-1] ** -0.5 if scale is None else scale)
    if groups > 1:  # more value heads than key heads
        q, k = (x.repeat_interleave(groups, dim=2) for x in (q, k))
    gates = (beta, log_decay, erase, write)
    beta, log_decay, erase, write = (None if x is None else x.to(k.dtype) for x in gates)
    tokens = _Tokens(q, k, v, beta, log_decay, erase, write)

    if initial_state is None and not output_final_state:
        documents = None if cu_seqlens is None else document_numbers(cu_seqlens, q.shape[1])
        return _recurrence(tokens, documents).to(dtype), None
    if cu_seqlens is None:
        o, state = _with_states(tokens, initial_state)
    else:
        sequences = [
            _with_states(
                tokens.between(first, last),
                None if initial_state is None else initial_state[n : n + 1],
            )
            for n, (first, last) in enumerate(pairwise(cu_seqlens.tolist()))
        ]
        o = torch.cat([one for one, _ in sequences], dim=1)
        state = torch.cat([one for _, one in sequences])
    if state_v_first:
        state = state.mT
    return o.to(dtype), state if output_final_state else None


def check_options(name: str, options: dict[str, Any]) -> None:
    """Raises NotImplementedError for an option that is asked for and not covered."""
    for option, value in options.items():
        asked_for = value is not None and value is not False
        if asked_for and option not in _WITHOUT_EFFECT:
            raise NotImplementedError(f"the stand-in of fla's {name} has no {option}")


def _recurrence(tokens: _Tokens, documents_BT: Tensor | None = None) -> Tensor:
    q, k, v, beta, log_decay, erase, write = tokens
    if erase is not None and write is not None:
        decay = torch.zeros_like(k) if log_decay is None else log_decay
        decay = decay if decay.ndim == k.ndim else decay[..., None].expand_as(k)
        return ops.generalized_delta_rule(q, k, v, erase, write, decay, documents_BT)
    if beta is None:
        return ops.linear_attention(q, k, v, log_decay, documents_BT)
    return ops.delta_rule(q, k, v, beta, log_decay, documents_BT)


def _with_states(tokens: _Tokens, initial_state: Tensor | None) -> tuple[Tensor, Tensor]:
    """Returns the output (B, T, H, V) and the final state (B, H, K, V)."""
    (B, T, H, K), V = tokens.k.shape, tokens.v.shape[-1]
    like = tokens.k
    # Position i handles row i of the state: written with key e_i into an empty memory, read with
    # query e_i by a token that stores nothing. Neither forgets (decay 0 in logarithms).
    rows_BSHK = torch.eye(K, dtype=like.dtype, device=like.device)[None, :, None]
    rows_BSHK = rows_BSHK.expand(B, K, H, K)
    nothing, none_BSHV = torch.zeros_like(rows_BSHK), like.new_zeros(B, K, H, V)
    beta = decay = erase = write = None
    if tokens.erase is not None:
        erase = write = nothing
    if tokens.beta is not None:
        beta = like.new_ones(B, K, H)
    if tokens.log_decay is not None:
        decay = like.new_zeros(B, K, *tokens.log_decay.shape[2:])
    parts = [tokens, _Tokens(rows_BSHK, nothing, none_BSHV, beta, decay, erase, write)]
    if initial_state is not None:
        written_BSHV = initial_state.to(like.dtype).transpose(1, 2)
        written = _Tokens(nothing, rows_BSHK, written_BSHV, beta, decay, erase, write)
        parts.insert(0, written)
    joined: list[Any] = [
        None if one[0] is None else torch.cat(one, dim=1) for one in zip(*parts, strict=True)
    ]
    o_BSHV = _recurrence(_Tokens(*joined))[:, -T - K :]
    return o_BSHV[:, :T], o_BSHV[:, T:].transpose(1, 2)


# ---------------------------------------------------------------- the delta rule


def chunk_delta_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor | None = None,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
    use_qk_l2norm_in_kernel: bool = False,
    cu_seqlens: Tensor | None = None,
    **options: Any,
) -> Result:
    """S <- S + b_t k_t (v_t - S^T k_t)^T;  o_t = scale S^T q_t.  b_t = 1 without beta.

    Yang et al. arXiv:2406.06484.
    """
    return run_recurrence(
        "chunk_delta_rule",
        q,
        k,
        v,
        beta=torch.ones_like(v[..., 0]) if beta is None else beta,
        scale=scale,
        initial_state=initial_state,
        output_final_state=output_final_state,
        use_qk_l2norm_in_kernel=use_qk_l2norm_in_kernel,
        cu_seqlens=cu_seqlens,
        options=options,
    )


def decay_gate(g: Tensor, A_log: Tensor, dt_bias: Tensor | None = None) -> Tensor:
    """Returns the logarithm of a decay, -exp(A_log) softplus(g + dt_bias); g (..., H)."""
    g = wide(g)
    if dt_bias is not None:
        g = g + dt_bias.to(g.dtype)
    return -A_log.to(g.dtype).exp() * F.softplus(g)


def fused_kda_gate(
    g: Tensor,
    A_log: Tensor | None = None,
    dt_bias: Tensor | None = None,
    lower_bound: float | None = None,
    output_dtype: torch.dtype | None = None,
) -> Tensor:
    """`decay_gate` of each key channel: g (..., H, K), A_log (H,), dt_bias (H K,).

    With a lower bound it is lower_bound sigmoid(exp(A_log) (g + dt_bias)), and exp(A_log) is one
    if there is no A_log. Without `output_dtype` the result is in float32, or as wide as g.
    """
    dt_bias_HK = None if dt_bias is None else dt_bias.view(g.shape[-2:])
    A_log_H1 = None if A_log is None else A_log.view(-1, 1)
    if lower_bound is not None:
        gate = wide(g) if dt_bias_HK is None else wide(g) + dt_bias_HK.to(wide(g).dtype)
        gate = gate if A_log_H1 is None else A_log_H1.to(gate.dtype).exp() * gate
        gate = lower_bound * gate.sigmoid()
    elif A_log_H1 is None:
        raise ValueError("expected A_log or lower_bound for the gate, got neither; give one")
    else:
        gate = decay_gate(g, A_log_H1, dt_bias_HK)
    return gate if output_dtype is None else gate.to(output_dtype)


def _gated_delta_rule(
    name: str,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None,
    beta: Tensor | None,
    *,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
    use_qk_l2norm_in_kernel: bool = False,
    use_beta_sigmoid_in_kernel: bool = False,
    allow_neg_eigval: bool = False,
    state_v_first: bool = False,
    transpose_state_layout: bool = False,  # its name up to fla 0.5.0
    cu_seqlens: Tensor | None = None,
    **options: Any,
) -> Result:
    """The gated delta rule, with the logarithm of the decay; for whom to name in an error.

    With `use_beta_sigmoid_in_kernel`, b_t = sigmoid(beta), or 2 sigmoid(beta) if
    `allow_neg_eigval`.
    """
    if allow_neg_eigval and not use_beta_sigmoid_in_kernel:
        raise ValueError(
            f"{name} got allow_neg_eigval without use_beta_sigmoid_in_kernel; "
            "ask for both, or double beta before the call"
        )
    if beta is None:
        beta = torch.ones_like(v[..., 0])
    elif use_beta_sigmoid_in_kernel:
        beta = wide(beta).sigmoid() * (2 if allow_neg_eigval else 1)
    return run_recurrence(
        name,
        q,
        k,
        v,
        beta=beta,
        log_decay=g,
        scale=scale,
        initial_state=initial_state,
        output_final_state=output_final_state,
        use_qk_l2norm_in_kernel=use_qk_l2norm_in_kernel,
        state_v_first=state_v_first or transpose_state_layout,
        cu_seqlens=cu_seqlens,
        options=options,
    )


def _decay_of_heads(
    name: str,
    g: Tensor | None,
    use_gate_in_kernel: bool,
    A_log: Tensor | None,
    dt_bias: Tensor | None,
) -> Tensor | None:
    if not use_gate_in_kernel:
        return g
    if g is None or A_log is None:
        raise ValueError(f"{name} needs g and A_log for use_gate_in_kernel; give both")
    return decay_gate(g, A_log, dt_bias)


def chunk_gated_delta_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None = None,
    beta: Tensor | None = None,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
    use_qk_l2norm_in_kernel: bool = False,
    # By name only: the places of the next arguments changed between versions of fla.
    *,
    use_gate_in_kernel: bool = False,
    A_log: Tensor | None = None,
    dt_bias: Tensor | None = None,
    **options: Any,
) -> Result:
    """S <- exp(g_t) S, then the delta rule; g (B, T, H). Yang et al. arXiv:2412.06464.

    With `use_gate_in_kernel` the decay is exp of `decay_gate`.
    """
    name = "chunk_gated_delta_rule"
    return _gated_delta_rule(
        name,
        q,
        k,
        v,
        _decay_of_heads(name, g, use_gate_in_kernel, A_log, dt_bias),
        beta,
        scale=scale,
        initial_state=initial_state,
        output_final_state=output_final_state,
        use_qk_l2norm_in_kernel=use_qk_l2norm_in_kernel,
        **options,
    )


def fused_recurrent_gated_delta_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    # By name only: the places of the next arguments changed between versions of fla.
    *,
    g: Tensor | None = None,
    gk: Tensor | None = None,
    beta: Tensor | None = None,
    use_gate_in_kernel: bool = False,
    A_log: Tensor | None = None,
    dt_bias: Tensor | None = None,
    **options: Any,
) -> Result:
    """`chunk_gated_delta_rule`, also with a decay for each key channel: gk (B, T, H, K)."""
    name = "fused_recurrent_gated_delta_rule"
    g = _decay_of_heads(name, g, use_gate_in_kernel, A_log, dt_bias)
    if gk is not None:
        g = gk if g is None else g[..., None] + gk
    return _gated_delta_rule(name, q, k, v, g, beta, **options)


def _kda(
    name: str,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    beta: Tensor,
    *,
    use_gate_in_kernel: bool = False,
    A_log: Tensor | None = None,
    dt_bias: Tensor | None = None,
    lower_bound: float | None = None,
    safe_gate: bool = False,
    **options: Any,
) -> Result:
    if use_gate_in_kernel:
        if safe_gate and (lower_bound is None or not -5 <= lower_bound < 0):
            raise ValueError(
                f"{name} needs a lower_bound from -5 to below 0 for safe_gate, got {lower_bound}"
            )
        g = fused_kda_gate(g, A_log, dt_bias, lower_bound)
    return _gated_delta_rule(name, q, k, v, g, beta, **options)


def chunk_kda(q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor, **options: Any) -> Result:
    """S <- diag(exp(g_t)) S, then the delta rule; g (B, T, H, K). arXiv:2510.26692.

    With `use_gate_in_kernel` the decay is exp of `fused_kda_gate`.
    """
    return _kda("chunk_kda", q, k, v, g, beta, **options)


def fused_recurrent_kda(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor, **options: Any
) -> Result:
    """`chunk_kda` by the other name."""
    return _kda("fused_recurrent_kda", q, k, v, g, beta, **options)


# ---------------------------------------------------------------- linear attention


def _linear_attention(
    name: str,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
    # By name only: the places of the next arguments changed between versions of fla.
    *,
    state_v_first: bool = False,
    transpose_state_layout: bool = False,
    cu_seqlens: Tensor | None = None,
    **options: Any,
) -> Result:
    return run_recurrence(
        name,
        q,
        k,
        v,
        log_decay=g,
        scale=scale,
        initial_state=initial_state,
        output_final_state=output_final_state,
        state_v_first=state_v_first or transpose_state_layout,
        cu_seqlens=cu_seqlens,
        options=options,
    )


def chunk_gla(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None = None,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
    **options: Any,
) -> Result:
    """S <- diag(exp(g_t)) S + k_t v_t^T;  o_t = scale S^T q_t;  g (B, T, H, K).

    Yang et al. arXiv:2312.06635.
    """
    rest = (scale, initial_state, output_final_state)
    return _linear_attention("chunk_gla", q, k, v, g, *rest, **options)


def fused_recurrent_gla(
    q: Tensor, k: Tensor, v: Tensor, gk: Tensor | None = None, **options: Any
) -> Result:
    """`chunk_gla` with the decay's other name."""
    return _linear_attention("fused_recurrent_gla", q, k, v, gk, **options)


def chunk_simple_gla(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None = None,
    # By name only: the places of the next arguments changed between versions of fla.
    *,
    g_gamma: Tensor | None = None,
    **options: Any,
) -> Result:
    """S <- exp(g_t) S + k_t v_t^T;  o_t = scale S^T q_t.  Dao and Gu arXiv:2405.21060.

    The decay is g (B, T, H), or g_gamma (H,) at all times.
    """
    if g_gamma is not None:
        if g is not None:
            raise ValueError("expected g or g_gamma, got both")
        g = g_gamma.expand(*v.shape[:3])
    return _linear_attention("chunk_simple_gla", q, k, v, g, **options)


def chunk_retention(q: Tensor, k: Tensor, v: Tensor, **options: Any) -> Result:
    """`chunk_simple_gla` with decay 1 - 2^(-5 - h) in head h. Sun et al. arXiv:2307.08621."""
    head_H = torch.arange(q.shape[2], device=q.device, dtype=wide(q).dtype)
    decay_BTH = torch.log1p(-(2.0 ** (-5 - head_H))).expand(*v.shape[:3])
    return _linear_attention("chunk_retention", q, k, v, decay_BTH, **options)


def chunk_linear_attn(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scale: float | None = None,
    initial_state: Any = None,
    output_final_state: bool = False,
    normalize: bool = True,
    cu_seqlens: Tensor | None = None,
    **options: Any,
) -> tuple[Tensor, Any]:
    """S <- S + k_t v_t^T;  o_t = scale S^T q_t, divided by scale q_t . sum of keys if `normalize`.

    With `normalize` a state is a pair, S and the sum of keys (N, 1, H, K); given S alone, the sum
    starts at zero. Katharopoulos et al. arXiv:2006.16236.
    """
    rest = (scale, initial_state, output_final_state, normalize, cu_seqlens)
    return _normalized("chunk_linear_attn", q, k, v, *rest, options)


def _normalized(
    name: str,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scale: float | None,
    initial_state: Any,
    output_final_state: bool,
    normalize: bool,
    cu_seqlens: Tensor | None,
    options: dict[str, Any],
) -> tuple[Tensor, Any]:
    if normalize:
        # The sum of keys is what a value of one would store: a further column of S.
        v = torch.cat([v, torch.ones_like(v[..., :1])], dim=-1)
        if initial_state is not None:
            S, keys = initial_state if isinstance(initial_state, tuple) else (initial_state, None)
            keys = torch.zeros_like(S[..., :1]) if keys is None else keys.transpose(1, 2).mT
            initial_state = torch.cat([S, keys], dim=-1)
    o, state = run_recurrence(
        name,
        q,
        k,
        v,
        scale=scale,
        initial_state=initial_state,
        output_final_state=output_final_state,
        cu_seqlens=cu_seqlens,
        options=options,
    )
    if not normalize:
        return o, state
    o = o[..., :-1] / (o[..., -1:] + 1e-10)
    return o, None if state is None else (state[..., :-1], state[..., -1][:, None])


def fused_recurrent_linear_attn(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scale: float | None = None,
    initial_state: Any = None,
    output_final_state: bool = False,
    *,
    normalize: bool = False,
    cu_seqlens: Tensor | None = None,
    **options: Any,
) -> tuple[Tensor, Any]:
    """`chunk_linear_attn`, not normalized unless asked for."""
    rest = (scale, initial_state, output_final_state, normalize, cu_seqlens)
    return _normalized("fused_recurrent_linear_attn", q, k, v, *rest, options)
