"""The definition of every operator: one step at a time, a few lines each.

Nothing here is fast. The chunked operators are tested against these, values and gradients.

Shape letters: B batch, T time, H heads, K key size, V value size, D width, W window.
`documents_BT` numbers the document of each position; None means one document. A document begins
wherever the number changes: one that comes back is another document. A state never passes from one
document to the next.
"""

import functools
from typing import Any

import torch
from torch import Tensor


def _starts(documents_BT: Tensor | None, t: int) -> Tensor | None:
    """Says for each batch row whether position t begins a new document."""
    if documents_BT is None or t == 0:
        return None
    return documents_BT[:, t] != documents_BT[:, t - 1]


def in_turn(documents_BT: Tensor) -> Tensor:
    """Numbers the documents of each row one after the other: 0, 1, 2, ..."""
    changes_BT = documents_BT != documents_BT.roll(1, dims=1)
    return changes_BT.cumsum(dim=1) - changes_BT[:, :1].long()  # the first does not count


def linear_attention(
    q_BTHK: Tensor,
    k_BTHK: Tensor,
    v_BTHV: Tensor,
    log_decay: Tensor | None = None,
    documents_BT: Tensor | None = None,
) -> Tensor:
    """S <- S diag(a_t) + v_t k_t^T;  o_t = S q_t.  Returns (B, T, H, V).

    `log_decay` = log a_t <= 0 has shape (B, T, H), or (B, T, H, K) for one decay per key
    channel, or is None for a_t = 1. Katharopoulos et al. arXiv:2006.16236 (no decay), Yang et
    al. arXiv:2312.06635 (per channel).
    """
    return _recurrence(q_BTHK, k_BTHK, v_BTHV, None, log_decay, documents_BT)


def delta_rule(
    q_BTHK: Tensor,
    k_BTHK: Tensor,
    v_BTHV: Tensor,
    beta_BTH: Tensor,
    log_decay: Tensor | None = None,
    documents_BT: Tensor | None = None,
) -> Tensor:
    """S <- S diag(a_t);  S <- S + b_t (v_t - S k_t) k_t^T;  o_t = S q_t.  Returns (B, T, H, V).

    Yang et al. arXiv:2406.06484; with decay arXiv:2412.06464.
    """
    return _recurrence(q_BTHK, k_BTHK, v_BTHV, beta_BTH, log_decay, documents_BT)


def _recurrence(
    q_BTHK: Tensor,
    k_BTHK: Tensor,
    v_BTHV: Tensor,
    beta_BTH: Tensor | None,
    log_decay: Tensor | None,
    documents_BT: Tensor | None,
) -> Tensor:
    B, T, H, K = k_BTHK.shape
    S_BHVK = k_BTHK.new_zeros(B, H, v_BTHV.shape[-1], K)
    outputs = []
    for t in range(T):
        starts_B = _starts(documents_BT, t)
        if starts_B is not None:
            S_BHVK = S_BHVK.masked_fill(starts_B[:, None, None, None], 0)
        o_BHV, S_BHVK = recurrence_step(
            q_BTHK[:, t],
            k_BTHK[:, t],
            v_BTHV[:, t],
            None if beta_BTH is None else beta_BTH[:, t],
            None if log_decay is None else log_decay[:, t],
            S_BHVK,
        )
        outputs.append(o_BHV)
    return torch.stack(outputs, dim=1)


def recurrence_step(
    q_BHK: Tensor,
    k_BHK: Tensor,
    v_BHV: Tensor,
    beta_BH: Tensor | None,
    log_decay: Tensor | None,
    S_BHVK: Tensor,
) -> tuple[Tensor, Tensor]:
    """One token of `linear_attention` (beta None) or `delta_rule`: the output and the new state.

    The state is float32 or wider, whatever the inputs are: it adds up what thousands of tokens say.
    """
    dtype = q_BHK.dtype
    S_BHVK, q_BHK, k_BHK, v_BHV, beta_BH, log_decay = wide(
        S_BHVK, q_BHK, k_BHK, v_BHV, beta_BH, log_decay
    )
    if log_decay is not None:
        decay = log_decay.exp()
        S_BHVK = S_BHVK * (decay[..., None, None] if decay.ndim == 2 else decay[..., None, :])
    if beta_BH is not None:
        error_BHV = v_BHV - torch.einsum("bhvk,bhk->bhv", S_BHVK, k_BHK)
        v_BHV = beta_BH[..., None] * error_BHV
    S_BHVK = S_BHVK + v_BHV[..., :, None] * k_BHK[..., None, :]
    return torch.einsum("bhvk,bhk->bhv", S_BHVK, q_BHK).to(dtype), S_BHVK


def wide(*tensors: Any) -> Any:
    """Returns the tensors in their widest type, float32 at least; None stays None."""
    dtype = functools.reduce(
        torch.promote_types, (x.dtype for x in tensors if x is not None), torch.float32
    )
    return tuple(None if x is None else x.to(dtype) for x in tensors)


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

    The S that erase e_t reads is the one before the decay. Diagonal plus low rank, Peng et al.
    arXiv:2503.14456 (RWKV-7): there w_t = a_t k_t and e_t = -k_t.
    """
    B, T, H, K = k_BTHK.shape
    S_BHVK = k_BTHK.new_zeros(B, H, v_BTHV.shape[-1], K)
    outputs = []
    for t in range(T):
        starts_B = _starts(documents_BT, t)
        if starts_B is not None:
            S_BHVK = S_BHVK.masked_fill(starts_B[:, None, None, None], 0)
        inputs = (q_BTHK, k_BTHK, v_BTHV, erase_BTHK, write_BTHK, log_decay_BTHK)
        q, k, v, erase, write, log_decay = (x[:, t] for x in inputs)
        o_BHV, S_BHVK = generalized_delta_rule_step(q, k, v, erase, write, log_decay, S_BHVK)
        outputs.append(o_BHV)
    return torch.stack(outputs, dim=1)


def generalized_delta_rule_step(
    q_BHK: Tensor,
    k_BHK: Tensor,
    v_BHV: Tensor,
    erase_BHK: Tensor,
    write_BHK: Tensor,
    log_decay_BHK: Tensor,
    S_BHVK: Tensor,
) -> tuple[Tensor, Tensor]:
    """One token of `generalized_delta_rule`: the output and the new state (B, H, V, K)."""
    dtype = q_BHK.dtype
    S_BHVK, q_BHK, k_BHK, v_BHV, erase_BHK, write_BHK, log_decay_BHK = wide(
        S_BHVK, q_BHK, k_BHK, v_BHV, erase_BHK, write_BHK, log_decay_BHK
    )
    u_BHV = torch.einsum("bhvk,bhk->bhv", S_BHVK, erase_BHK)
    S_BHVK = S_BHVK * log_decay_BHK.exp()[..., None, :]
    S_BHVK = S_BHVK + u_BHV[..., :, None] * write_BHK[..., None, :]
    S_BHVK = S_BHVK + v_BHV[..., :, None] * k_BHK[..., None, :]
    return torch.einsum("bhvk,bhk->bhv", S_BHVK, q_BHK).to(dtype), S_BHVK


def momentum_delta_rule(
    q_BTHK: Tensor,
    k_BTHK: Tensor,
    v_BTHV: Tensor,
    beta_BTH: Tensor,
    log_momentum_BTH: Tensor,
    log_decay_BTH: Tensor,
    documents_BT: Tensor | None = None,
) -> Tensor:
    """M <- m_t M + b_t (v_t - S k_t) k_t^T;  S <- a_t S + M;  o_t = S q_t.  Returns (B, T, H, V).

    One step of gradient descent with momentum and weight decay per token, on the squared error
    of a linear memory. `log_momentum_BTH` = log m_t and `log_decay_BTH` = log a_t are <= 0.
    Behrouz et al. arXiv:2501.00663 (Titans, with a linear memory).
    """
    B, T, H, K = k_BTHK.shape
    state = k_BTHK.new_zeros(B, H, 2, v_BTHV.shape[-1], K)
    outputs = []
    for t in range(T):
        starts_B = _starts(documents_BT, t)
        if starts_B is not None:
            state = state.masked_fill(starts_B[:, None, None, None, None], 0)
        inputs = (q_BTHK, k_BTHK, v_BTHV, beta_BTH, log_momentum_BTH, log_decay_BTH)
        q, k, v, beta, log_momentum, log_decay = (x[:, t] for x in inputs)
        o_BHV, state = momentum_delta_rule_step(q, k, v, beta, log_momentum, log_decay, state)
        outputs.append(o_BHV)
    return torch.stack(outputs, dim=1)


def momentum_delta_rule_step(
    q_BHK: Tensor,
    k_BHK: Tensor,
    v_BHV: Tensor,
    beta_BH: Tensor,
    log_momentum_BH: Tensor,
    log_decay_BH: Tensor,
    state_BH2VK: Tensor,
) -> tuple[Tensor, Tensor]:
    """One token of `momentum_delta_rule`; the state holds S and M, (B, H, 2, V, K)."""
    dtype = q_BHK.dtype
    state_BH2VK, q_BHK, k_BHK, v_BHV, beta_BH, log_momentum_BH, log_decay_BH = wide(
        state_BH2VK, q_BHK, k_BHK, v_BHV, beta_BH, log_momentum_BH, log_decay_BH
    )
    S_BHVK, M_BHVK = state_BH2VK.unbind(dim=2)
    error_BHV = v_BHV - torch.einsum("bhvk,bhk->bhv", S_BHVK, k_BHK)
    write_BHVK = (beta_BH[..., None] * error_BHV)[..., :, None] * k_BHK[..., None, :]
    M_BHVK = log_momentum_BH.exp()[..., None, None] * M_BHVK + write_BHVK
    S_BHVK = log_decay_BH.exp()[..., None, None] * S_BHVK + M_BHVK
    o_BHV = torch.einsum("bhvk,bhk->bhv", S_BHVK, q_BHK)
    return o_BHV.to(dtype), torch.stack([S_BHVK, M_BHVK], dim=2)


def softmax_attention(
    q_BTHK: Tensor, k_BTHK: Tensor, v_BTHV: Tensor, documents_BT: Tensor | None = None
) -> Tensor:
    """o_t = sum over s <= t of softmax_s(q_t . k_s / sqrt(K)) v_s.  Vaswani et al. 2017."""
    documents_BT = None if documents_BT is None else in_turn(documents_BT)
    outputs = []
    for t in range(q_BTHK.shape[1]):
        score_BHS = torch.einsum("bhk,bshk->bhs", q_BTHK[:, t], k_BTHK[:, : t + 1])
        score_BHS = score_BHS / q_BTHK.shape[-1] ** 0.5
        if documents_BT is not None:
            other_BS = documents_BT[:, : t + 1] != documents_BT[:, t : t + 1]
            score_BHS = score_BHS.masked_fill(other_BS[:, None], -torch.inf)
        weight_BHS = score_BHS.softmax(dim=-1)
        outputs.append(torch.einsum("bhs,bshv->bhv", weight_BHS, v_BTHV[:, : t + 1]))
    return torch.stack(outputs, dim=1)


def sliding_window_attention(
    q_BTHK: Tensor,
    k_BTHK: Tensor,
    v_BTHV: Tensor,
    bias_HW: Tensor,
    documents_BT: Tensor | None = None,
) -> Tensor:
    """Softmax attention to the last W positions, the own one included.

    `bias_HW[h, d]` is added to the score of the position d steps back. W is the size of the bias.
    """
    documents_BT = None if documents_BT is None else in_turn(documents_BT)
    outputs = []
    for t in range(q_BTHK.shape[1]):
        first = max(0, t + 1 - bias_HW.shape[1])
        k_BSHK, v_BSHV = k_BTHK[:, first : t + 1], v_BTHV[:, first : t + 1]
        score_BHS = torch.einsum("bhk,bshk->bhs", q_BTHK[:, t], k_BSHK) / q_BTHK.shape[-1] ** 0.5
        score_BHS = score_BHS + bias_HW[:, : t + 1 - first].flip(-1)
        if documents_BT is not None:
            other_BS = documents_BT[:, first : t + 1] != documents_BT[:, t : t + 1]
            score_BHS = score_BHS.masked_fill(other_BS[:, None], -torch.inf)
        outputs.append(torch.einsum("bhs,bshv->bhv", score_BHS.softmax(dim=-1), v_BSHV))
    return torch.stack(outputs, dim=1)


def short_convolution(
    x_BTD: Tensor, weight_DW: Tensor, documents_BT: Tensor | None = None
) -> Tensor:
    """y_t = sum over d < W of weight[:, d] * x_{t-d}: causal, one filter per channel."""
    documents_BT = None if documents_BT is None else in_turn(documents_BT)
    outputs = []
    for t in range(x_BTD.shape[1]):
        total_BD = torch.zeros_like(x_BTD[:, 0])
        for d in range(min(t + 1, weight_DW.shape[1])):
            term_BD = weight_DW[:, d] * x_BTD[:, t - d]
            if documents_BT is not None:
                same_B1 = documents_BT[:, t - d, None] == documents_BT[:, t, None]
                term_BD = term_BD * same_B1
            total_BD = total_BD + term_BD
        outputs.append(total_BD)
    return torch.stack(outputs, dim=1)
