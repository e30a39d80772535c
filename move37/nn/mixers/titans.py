"""Titans: a memory that is trained at test time, by gradient descent with momentum."""

import math

import torch.nn.functional as F
from torch import Tensor, nn

from move37.nn import ops


class Titans(nn.Module):
    """A linear memory that learns each pair by a gradient step with momentum and weight decay.

    Per head, with a memory S and a momentum M of shape (V, K) that start at zero, and
    |k_t| = |q_t| = 1:

        M <- m_t M + b_t (v_t - S k_t) k_t^T    surprise, with momentum
        S <- a_t S + M                          learn, and forget a little
        o_t = S q_t                             read
        y_t = norm(o_t) * silu(g_t)             gate

    with a_t in (0, 1), b_t in (0, a_t) and m_t in (0, 1/2): what is added is minus the gradient
    of |v_t - S k_t|^2 / 2. In the paper all three are in (0, 1); rates that change from token to
    token can then swing the memory up without end. This is the neural long-term memory of the
    paper with one linear layer as the memory and a step for each token; its attention branch and
    its persistent tokens are left out. q, k and v pass a causal convolution of width 4 and a SiLU.
    Shapes: B batch, T time, D model width, H heads, K = V head size. Time O(T H K V); the state
    holds 2 H V K numbers and the last 3 inputs of the convolution. Behrouz et al. arXiv:2501.00663.
    """

    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = ops.head_size(dim, heads)
        inner = heads * self.head_dim
        self.project_qkv = nn.Linear(dim, 3 * inner, bias=False)
        self.convolution = nn.Conv1d(3 * inner, 3 * inner, 4, groups=3 * inner, bias=False)
        self.project_rates = nn.Linear(dim, 3 * heads)  # of learning, momentum, forgetting
        self.project_gate = nn.Linear(dim, inner, bias=False)
        self.norm = nn.RMSNorm(self.head_dim, eps=1e-5)
        self.project_out = nn.Linear(inner, dim, bias=False)
        nn.init.zeros_(self.project_rates.bias)
        # sigmoid(4) = 0.98: forgets little at first.
        nn.init.constant_(self.project_rates.bias[2 * heads :], 4.0)

    def forward(self, x_BTD: Tensor, documents_BT: Tensor | None = None) -> Tensor:
        """Maps (B, T, D) to (B, T, D); output t sees inputs 0..t of its document."""
        qkv = self.project_qkv(x_BTD)
        qkv = ops.short_convolution(qkv, self.convolution.weight[:, 0], documents_BT)
        q_BTHK, k_BTHK, v_BTHV = self._heads(qkv)
        o_BTHV = ops.momentum_delta_rule(q_BTHK, k_BTHK, v_BTHV, *self._rates(x_BTD), documents_BT)
        return self._read(o_BTHV, x_BTD)

    def initial_state(self, batch: int) -> dict[str, Tensor]:
        """Returns the state before the first token."""
        zeros = self.project_out.weight.new_zeros
        return {
            "recent": zeros(batch, 3, self.project_qkv.out_features),
            "memory": ops.zero_state(
                self.project_out.weight, batch, self.heads, 2, self.head_dim, self.head_dim
            ),
        }

    def step(self, x_BD: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Maps one token (B, D) and the state to the output (B, D) and the next state."""
        qkv, recent = ops.short_convolution_step(
            self.project_qkv(x_BD), self.convolution.weight[:, 0], state["recent"]
        )
        q_BHK, k_BHK, v_BHV = self._heads(qkv)
        o_BHV, memory = ops.momentum_delta_rule_step(
            q_BHK, k_BHK, v_BHV, *self._rates(x_BD), state["memory"]
        )
        return self._read(o_BHV, x_BD), {"recent": recent, "memory": memory}

    def _heads(self, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = F.silu(qkv).unflatten(-1, (3 * self.heads, -1)).chunk(3, dim=-2)
        return F.normalize(q, dim=-1), F.normalize(k, dim=-1), v

    def _rates(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """b, log m and log a, each (..., H)."""
        learning, momentum, keeping = self.project_rates(x).chunk(3, dim=-1)
        rate = learning.sigmoid() * keeping.sigmoid()
        return rate, F.logsigmoid(momentum) - math.log(2), F.logsigmoid(keeping)

    def _read(self, o: Tensor, x: Tensor) -> Tensor:
        gate = F.silu(self.project_gate(x)).unflatten(-1, (self.heads, -1))
        return self.project_out((self.norm(o) * gate).flatten(-2))
