"""RetNet: linear attention that forgets at a fixed rate, with rotary positions."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from move37.nn import ops


class RetNet(nn.Module):
    """Retention: linear attention with one fixed decay per head.

    Per head, with a state S of shape (V, K) that starts at zero, and q, k turned by their position:

        S <- c S + v_t k_t^T                forget, then store
        o_t = S q_t                         read
        y_t = norm(o_t) * silu(g_t)         gate

    with c = 1 - 2^(-5-h) in head h, from 31/32 on. q, k and v pass a causal convolution of
    width 4, as in all mixers here; the paper has none. Shapes: B batch, T time, D model width,
    H heads, K = V head size. Time O(T H K V); the state holds H V K numbers, the last 3 inputs of
    the convolution, and the place. Sun et al. arXiv:2307.08621.
    """

    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = ops.head_size(dim, heads, multiple=2)  # for the rotation
        inner = heads * self.head_dim
        self.log_decay = [math.log1p(-(2.0 ** (-5 - head))) for head in range(heads)]
        self.project_qkv = nn.Linear(dim, 3 * inner, bias=False)
        self.convolution = nn.Conv1d(3 * inner, 3 * inner, 4, groups=3 * inner, bias=False)
        self.project_gate = nn.Linear(dim, inner, bias=False)
        self.norm = nn.RMSNorm(self.head_dim, eps=1e-5)
        self.project_out = nn.Linear(inner, dim, bias=False)

    def forward(self, x_BTD: Tensor, documents_BT: Tensor | None = None) -> Tensor:
        """Maps (B, T, D) to (B, T, D); output t sees inputs 0..t of its document."""
        qkv = self.project_qkv(x_BTD)
        qkv = ops.short_convolution(qkv, self.convolution.weight[:, 0], documents_BT)
        q_BTHK, k_BTHK, v_BTHV = self._heads(qkv)
        # Of two rotated vectors only the distance tells: documents need no positions of their own.
        q_BTHK, k_BTHK = ops.rotate(q_BTHK), ops.rotate(k_BTHK)
        log_decay_BTH = x_BTD.new_tensor(self.log_decay).expand(*x_BTD.shape[:2], -1)
        o_BTHV = ops.linear_attention(q_BTHK, k_BTHK, v_BTHV, log_decay_BTH, documents_BT)
        return self._read(o_BTHV, x_BTD)

    def initial_state(self, batch: int) -> dict[str, Tensor]:
        """Returns the state before the first token."""
        zeros = self.project_out.weight.new_zeros
        return {
            "recent": zeros(batch, 3, self.project_qkv.out_features),
            "memory": ops.zero_state(
                self.project_out.weight, batch, self.heads, self.head_dim, self.head_dim
            ),
            "place": zeros(batch, dtype=torch.long),
        }

    def step(self, x_BD: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Maps one token (B, D) and the state to the output (B, D) and the next state."""
        qkv, recent = ops.short_convolution_step(
            self.project_qkv(x_BD), self.convolution.weight[:, 0], state["recent"]
        )
        q_BHK, k_BHK, v_BHV = self._heads(qkv)
        # What is stored keeps its turn: turned on at each token, its rounding would grow.
        place_B = state["place"]
        q_BHK, k_BHK = (ops.rotate(z[:, None], first=place_B)[:, 0] for z in (q_BHK, k_BHK))
        log_decay_BH = x_BD.new_tensor(self.log_decay).expand(x_BD.shape[0], -1)
        o_BHV, memory = ops.linear_attention_step(
            q_BHK, k_BHK, v_BHV, state["memory"], log_decay_BH
        )
        return self._read(o_BHV, x_BD), {"recent": recent, "memory": memory, "place": place_B + 1}

    def _heads(self, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = qkv.unflatten(-1, (3 * self.heads, -1)).chunk(3, dim=-2)
        return q * self.head_dim**-0.5, k, v

    def _read(self, o: Tensor, x: Tensor) -> Tensor:
        gate = F.silu(self.project_gate(x)).unflatten(-1, (self.heads, -1))
        return self.project_out((self.norm(o) * gate).flatten(-2))
