"""Longhorn: a state space that solves a small regression at every token."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from move37.nn import ops


class Longhorn(nn.Module):
    """A linear memory whose update is the closed form of an online regression.

    Per head, with a state S of shape (V, K) that starts at zero:

        S <- S diag(1 - e_t k_t^2) + e_t v_t k_t^T      forget where k writes, store
        o_t = S q_t                                     read
        y_t = norm(o_t) * silu(g_t)                     gate

    with e_t = b_t / (1 + b_t |k_t|^2) and b_t > 0: the S nearest to the old one that recalls v_t
    for k_t with weight b_t, its matrix k_t k_t^T replaced by its diagonal. The paper has a b for
    each value channel; here it is one per head. q, k and v pass a causal convolution of width 4
    and a SiLU. Shapes: B batch, T time, D model width, H heads, K = V head size. Time O(T H K V);
    the state holds H V K numbers and the last 3 inputs of the convolution.
    Liu et al. arXiv:2407.14207.
    """

    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = ops.head_size(dim, heads)
        inner = heads * self.head_dim
        self.project_qkv = nn.Linear(dim, 3 * inner, bias=False)
        self.convolution = nn.Conv1d(3 * inner, 3 * inner, 4, groups=3 * inner, bias=False)
        self.project_beta = nn.Linear(dim, heads)
        self.project_gate = nn.Linear(dim, inner, bias=False)
        self.norm = nn.RMSNorm(self.head_dim, eps=1e-5)
        self.project_out = nn.Linear(inner, dim, bias=False)

    def forward(self, x_BTD: Tensor, documents_BT: Tensor | None = None) -> Tensor:
        """Maps (B, T, D) to (B, T, D); output t sees inputs 0..t of its document."""
        qkv = self.project_qkv(x_BTD)
        qkv = ops.short_convolution(qkv, self.convolution.weight[:, 0], documents_BT)
        q_BTHK, k_BTHK, v_BTHV, log_decay_BTHK = self._heads(qkv, x_BTD)
        o_BTHV = ops.linear_attention(q_BTHK, k_BTHK, v_BTHV, log_decay_BTHK, documents_BT)
        return self._read(o_BTHV, x_BTD)

    def initial_state(self, batch: int) -> dict[str, Tensor]:
        """Returns the state before the first token."""
        zeros = self.project_out.weight.new_zeros
        return {
            "recent": zeros(batch, 3, self.project_qkv.out_features),
            "memory": ops.zero_state(
                self.project_out.weight, batch, self.heads, self.head_dim, self.head_dim
            ),
        }

    def step(self, x_BD: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Maps one token (B, D) and the state to the output (B, D) and the next state."""
        qkv, recent = ops.short_convolution_step(
            self.project_qkv(x_BD), self.convolution.weight[:, 0], state["recent"]
        )
        q_BHK, k_BHK, v_BHV, log_decay_BHK = self._heads(qkv, x_BD)
        o_BHV, memory = ops.linear_attention_step(
            q_BHK, k_BHK, v_BHV, state["memory"], log_decay_BHK
        )
        return self._read(o_BHV, x_BD), {"recent": recent, "memory": memory}

    def _heads(self, qkv: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """q, k, e v and log(1 - e k^2), each (..., H, K)."""
        q, k, v = F.silu(qkv).unflatten(-1, (3 * self.heads, -1)).chunk(3, dim=-2)
        beta = F.softplus(self.project_beta(x))[..., None]
        squares = k * k
        total = 1 + beta * squares.sum(dim=-1, keepdim=True)
        # 1 - e k^2 = (total - b k^2) / total; both are at least 1, so that no digits cancel.
        log_decay = torch.log1p(beta * (squares.sum(dim=-1, keepdim=True) - squares).clamp(min=0))
        return q, k, beta / total * v, log_decay - total.log()

    def _read(self, o: Tensor, x: Tensor) -> Tensor:
        gate = F.silu(self.project_gate(x)).unflatten(-1, (self.heads, -1))
        return self.project_out((self.norm(o) * gate).flatten(-2))
