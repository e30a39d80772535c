"""The operators that a candidate's program may use, beside torch.

Each has a definition in `reference` and a fast form in `chunked`; these names are the fast ones.
For decoding, each has a `_step`: one token and a state in, the output and the new state out.

Shape letters: B batch, T time, H heads, K key size, V value size, D width, W window.
"""

import torch
from torch import Tensor

from move37.nn.ops import chunked, kernels, reference
from move37.nn.ops.shapes import shaped

__all__ = [
    "delta_rule",
    "delta_rule_step",
    "generalized_delta_rule",
    "generalized_delta_rule_step",
    "head_size",
    "linear_attention",
    "linear_attention_step",
    "momentum_delta_rule",
    "momentum_delta_rule_step",
    "rotate",
    "short_convolution",
    "short_convolution_step",
    "sliding_window_attention",
    "sliding_window_attention_step",
    "softmax_attention",
    "softmax_attention_step",
    "zero_state",
]


momentum_delta_rule = shaped(chunked.momentum_delta_rule)
short_convolution = shaped(chunked.short_convolution)
sliding_window_attention = shaped(chunked.sliding_window_attention)
softmax_attention = shaped(chunked.softmax_attention)
generalized_delta_rule_step = shaped(reference.generalized_delta_rule_step)
momentum_delta_rule_step = shaped(reference.momentum_delta_rule_step)


@shaped
def linear_attention(
    q_BTHK: Tensor,
    k_BTHK: Tensor,
    v_BTHV: Tensor,
    log_decay: Tensor | None = None,
    documents_BT: Tensor | None = None,
) -> Tensor:
    """S <- S diag(a_t) + v_t k_t^T;  o_t = S q_t.  Returns (B, T, H, V).

    log_decay = log a_t <= 0 is (B, T, H), or (B, T, H, K) for one decay per channel of the key;
    None for a_t = 1. q is taken as it is: many divide it by sqrt(K). A new document, with S = 0,
    begins wherever the number in documents_BT changes. Raises ValueError for other shapes. On CUDA
    by the kernels of fla where they apply. Definition and source: `reference.linear_attention`.
    """
    fast = kernels if kernels.usable(q_BTHK, k_BTHK, v_BTHV, log_decay) else chunked
    return fast.linear_attention(q_BTHK, k_BTHK, v_BTHV, log_decay, documents_BT)


@shaped
def delta_rule(
    q_BTHK: Tensor,
    k_BTHK: Tensor,
    v_BTHV: Tensor,
    beta_BTH: Tensor,
    log_decay: Tensor | None = None,
    documents_BT: Tensor | None = None,
) -> Tensor:
    """S <- S diag(a_t);  S <- S + b_t (v_t - S k_t) k_t^T;  o_t = S q_t.  Returns (B, T, H, V).

    b_t in (0, 1), or (0, 2) for eigenvalues down to -1. Keys of length one: S grows without bound
    where b_t |k_t|^2 is above 2. The rest as in `linear_attention`. Definition and source:
    `reference.delta_rule`.
    """
    fast = kernels if kernels.usable(q_BTHK, k_BTHK, v_BTHV, log_decay, delta=True) else chunked
    return fast.delta_rule(q_BTHK, k_BTHK, v_BTHV, beta_BTH, log_decay, documents_BT)


@shaped
def generalized_delta_rule(
    q_BTHK: Tensor,
    k_BTHK: Tensor,
    v_BTHV: Tensor,
    erase_BTHK: Tensor,
    write_BTHK: Tensor,
    log_decay_BTHK: Tensor,
    documents_BT: Tensor | None = None,
) -> Tensor:
    """S <- S diag(a_t) + (S e_t) w_t^T + v_t k_t^T;  o_t = S q_t.  Returns (B, T, H, V).

    e_t = erase, w_t = write. The rest as in `linear_attention`. Definition and source:
    `reference.generalized_delta_rule`.
    """
    fast = kernels if kernels.usable(q_BTHK, k_BTHK, v_BTHV, log_decay_BTHK) else chunked
    return fast.generalized_delta_rule(
        q_BTHK, k_BTHK, v_BTHV, erase_BTHK, write_BTHK, log_decay_BTHK, documents_BT
    )


@shaped
def linear_attention_step(
    q_BHK: Tensor, k_BHK: Tensor, v_BHV: Tensor, S_BHVK: Tensor, log_decay: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """One token of `linear_attention`; the state S starts at zero, (B, H, V, K)."""
    return reference.recurrence_step(q_BHK, k_BHK, v_BHV, None, log_decay, S_BHVK)


@shaped
def delta_rule_step(
    q_BHK: Tensor,
    k_BHK: Tensor,
    v_BHV: Tensor,
    beta_BH: Tensor,
    S_BHVK: Tensor,
    log_decay: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """One token of `delta_rule`; the state S starts at zero, (B, H, V, K)."""
    return reference.recurrence_step(q_BHK, k_BHK, v_BHV, beta_BH, log_decay, S_BHVK)


def short_convolution_step(
    x_BD: Tensor, weight_DW: Tensor, recent_BWD: Tensor
) -> tuple[Tensor, Tensor]:
    """One token of `short_convolution`; the state holds the last W - 1 inputs, newest first."""
    window_BWD = torch.cat([x_BD[:, None], recent_BWD], dim=1)
    return (window_BWD * weight_DW.t()).sum(dim=1), window_BWD[:, :-1]


@shaped
def softmax_attention_step(
    q_BHK: Tensor, k_BHK: Tensor, v_BHV: Tensor, k_BSHK: Tensor, v_BSHV: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """One token of `softmax_attention`; the state holds all S earlier keys and values."""
    k_BSHK = torch.cat([k_BSHK, k_BHK[:, None]], dim=1)
    v_BSHV = torch.cat([v_BSHV, v_BHV[:, None]], dim=1)
    score_BHS = torch.einsum("bhk,bshk->bhs", q_BHK.to(k_BSHK.dtype), k_BSHK)
    weight_BHS = (score_BHS / q_BHK.shape[-1] ** 0.5).softmax(dim=-1)
    o_BHV = torch.einsum("bhs,bshv->bhv", weight_BHS, v_BSHV).to(q_BHK.dtype)
    return o_BHV, k_BSHK, v_BSHV


def sliding_window_attention_step(
    q_BHK: Tensor, k_BHK: Tensor, v_BHV: Tensor, bias_HW: Tensor, recent: Tensor
) -> tuple[Tensor, Tensor]:
    """One token of `sliding_window_attention`.

    The state `recent` (B, W - 1, H, K + V + 1) holds the last keys and values, newest first,
    each with a one; it starts at zero, and a zero marks a place that holds nothing yet.
    """
    own = torch.cat([k_BHK, v_BHV, torch.ones_like(k_BHK[..., :1])], dim=-1)
    window = torch.cat([own[:, None], recent], dim=1)
    k_BWHK, v_BWHV, used_BWH1 = window.split([k_BHK.shape[-1], v_BHV.shape[-1], 1], dim=-1)
    score_BHW = torch.einsum("bhk,bwhk->bhw", q_BHK, k_BWHK) / q_BHK.shape[-1] ** 0.5 + bias_HW
    score_BHW = score_BHW.masked_fill(used_BWH1[..., 0].transpose(1, 2) == 0, -torch.inf)
    o_BHV = torch.einsum("bhw,bwhv->bhv", score_BHW.softmax(dim=-1), v_BWHV)
    return o_BHV, window[:, :-1]


def zero_state(weight: Tensor, *shape: int) -> Tensor:
    """Returns zeros for a state that adds up: float32, or as wide as the weight if that is wider.

    In half precision, a sum over some thousand tokens would lose each of them.
    """
    return weight.new_zeros(shape, dtype=torch.promote_types(weight.dtype, torch.float32))


def head_size(dim: int, heads: int, *, multiple: int = 1) -> int:
    """Returns the channels of a head: dim / heads, rounded down to a multiple, at least one.

    Raises ValueError where the width or the number of heads is below one.
    """
    if dim < 1 or heads < 1:
        raise ValueError(f"expected a width and a number of heads from 1 on, got {dim} and {heads}")
    return max(1, dim // heads // multiple) * multiple


def rotate(x_BTHK: Tensor, first: int | Tensor = 0) -> Tensor:
    """Rotary position embedding of positions first, first + 1, ...; K is even.

    `first` is one for all rows, or one for each, (B,). Raises ValueError where K is odd.
    Su et al. arXiv:2104.09864: channel pairs turn by an angle proportional to the position, so
    that a product of two rotated vectors depends on their distance only.
    """
    T, K = x_BTHK.shape[1], x_BTHK.shape[-1]
    if K % 2:
        raise ValueError(f"rotate: expected an even K, to turn pairs of channels; got {K}")
    # In float32 the angle of a far position would be rounded by as much as a small angle.
    position_T = torch.arange(T, device=x_BTHK.device, dtype=torch.float64)
    position_BT = position_T + (first[..., None] if isinstance(first, Tensor) else first)
    channel_K = torch.arange(K // 2, device=x_BTHK.device, dtype=torch.float64)
    rate_K = 10000.0 ** (-2 * channel_K / K)
    angle_BT1K = position_BT[..., None, None] * rate_K
    cos, sin = angle_BT1K.cos().to(x_BTHK.dtype), angle_BT1K.sin().to(x_BTHK.dtype)
    a, b = x_BTHK.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)
