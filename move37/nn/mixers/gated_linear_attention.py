"""Gated linear attention: each key channel forgets at its own, data-dependent rate."""

import torch.nn.functional as F
from torch import Tensor, nn

from move37.nn import ops


class GatedLinearAttention(nn.Module):
    """Linear attention with a decay per key channel and token.

    Per head, with a state S of shape (V, K) that starts at zero:

        S <- S diag(a_t) + v_t k_t^T        forget per channel, then store
        o_t = S q_t                         read
        y_t = norm(o_t) * silu(g_t)         gate

    with a_t = sigmoid(low-rank(x_t))^(1/16), near 1; q, k and v pass a causal convolution of
    width 4. Shapes: B batch, T time, D model width, H heads, K = V head size. Time O(T H K V);
    the state holds H V K numbers and the last 3 inputs of the convolution.
    Yang et al. arXiv:2312.06635.
    """

    def __init__(self, dim: int, *, heads: int, rank: int = 16) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = ops.head_size(dim, heads)
        inner = heads * self.head_dim
        self.project_qkv = nn.Linear(dim, 3 * inner, bias=False)
        self.convolution = nn.Conv1d(3 * inner, 3 * inner, 4, groups=3 * inner, bias=False)
        self.project_decay = nn.Sequential(nn.Linear(dim, rank, bias=False), nn.Linear(rank, inner))
        self.project_gate = nn.Linear(dim, inner, bias=False)
        self.norm = nn.RMSNorm(self.head_dim, eps=1e-5)
        self.project_out = nn.Linear(inner, dim, bias=False)

    def forward(self, x_BTD: Tensor, documents_BT: Tensor | None = None) -> Tensor:
        """Maps (B, T, D) to (B, T, D); output t sees inputs 0..t of its document."""
        qkv = self.project_qkv(x_BTD)
        qkv = ops.short_convolution(qkv, self.convolution.weight[:, 0], documents_BT)
        q_BTHK, k_BTHK, v_BTHV = self._heads(qkv)
        log_decay_BTHK = self._log_decay(x_BTD)
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
        q_BHK, k_BHK, v_BHV = self._heads(qkv)
        o_BHV, memory = ops.linear_attention_step(
            q_BHK, k_BHK, v_BHV, state["memory"], self._log_decay(x_BD)
        )
        return self._read(o_BHV, x_BD), {"recent": recent, "memory": memory}

    def _heads(self, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = qkv.unflatten(-1, (3 * self.heads, -1)).chunk(3, dim=-2)
        return q * self.head_dim**-0.5, k, v

    def _log_decay(self, x: Tensor) -> Tensor:
        return F.logsigmoid(self.project_decay(x)).unflatten(-1, (self.heads, -1)) / 16

    def _read(self, o: Tensor, x: Tensor) -> Tensor:
        gate = F.silu(self.project_gate(x)).unflatten(-1, (self.heads, -1))
        return self.project_out((self.norm(o) * gate).flatten(-2))
