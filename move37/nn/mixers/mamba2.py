"""Mamba-2: a state space model with one decay per head, in its dual form as attention."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from move37.nn import ops


class Mamba2(nn.Module):
    """A selective state space: one step size says how much is stored and how much forgotten.

    Per head, with a state S of shape (V, K) that starts at zero, and a step d_t > 0:

        S <- exp(-r d_t) S + d_t x_t b_t^T      forget and store, both by the step
        o_t = S c_t + p x_t                     read, and pass the input on
        y_t = norm(o_t * silu(z_t))             gate

    with d_t = softplus(..) and a learned rate r and passage p of each head; b_t and c_t, the key
    and the query, are the same for all heads. x, b and c pass a causal convolution of width 4 and
    a SiLU. The inner width is that of the model; the paper's is twice as large. Shapes: B batch,
    T time, D model width, H heads, K state size, V head size. Time O(T H K V); the state holds
    H V K numbers and the last 3 inputs of the convolution. Dao et al. arXiv:2405.21060.
    """

    def __init__(self, dim: int, *, heads: int, state: int | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = ops.head_size(dim, heads)
        self.state = state or self.head_dim
        inner = heads * self.head_dim
        mixed = inner + 2 * self.state
        self.project_xbc = nn.Linear(dim, mixed, bias=False)
        self.convolution = nn.Conv1d(mixed, mixed, 4, groups=mixed, bias=False)
        self.project_step = nn.Linear(dim, heads)
        self.log_rate = nn.Parameter(torch.linspace(1, 16, heads).log())
        self.passage = nn.Parameter(torch.ones(heads))
        self.project_gate = nn.Linear(dim, inner, bias=False)
        self.norm = nn.RMSNorm(inner, eps=1e-5)
        self.project_out = nn.Linear(inner, dim, bias=False)
        # Steps from 0.001 to 0.1 at the start, spaced evenly in their logarithm.
        steps = torch.linspace(math.log(0.001), math.log(0.1), heads).exp()
        with torch.no_grad():
            self.project_step.bias.copy_(steps.expm1().log())  # softplus of it is the step

    def forward(self, x_BTD: Tensor, documents_BT: Tensor | None = None) -> Tensor:
        """Maps (B, T, D) to (B, T, D); output t sees inputs 0..t of its document."""
        xbc = self.project_xbc(x_BTD)
        xbc = ops.short_convolution(xbc, self.convolution.weight[:, 0], documents_BT)
        x_BTHV, b_BTHK, c_BTHK = self._heads(xbc)
        step_BTH1, log_decay_BTH = self._step(x_BTD)
        o_BTHV = ops.linear_attention(
            c_BTHK, b_BTHK, step_BTH1 * x_BTHV, log_decay_BTH, documents_BT
        )
        return self._read(o_BTHV, x_BTHV, x_BTD)

    def initial_state(self, batch: int) -> dict[str, Tensor]:
        """Returns the state before the first token."""
        zeros = self.project_out.weight.new_zeros
        return {
            "recent": zeros(batch, 3, self.project_xbc.out_features),
            "memory": ops.zero_state(
                self.project_out.weight, batch, self.heads, self.head_dim, self.state
            ),
        }

    def step(self, x_BD: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Maps one token (B, D) and the state to the output (B, D) and the next state."""
        xbc, recent = ops.short_convolution_step(
            self.project_xbc(x_BD), self.convolution.weight[:, 0], state["recent"]
        )
        x_BHV, b_BHK, c_BHK = self._heads(xbc)
        step_BH1, log_decay_BH = self._step(x_BD)
        o_BHV, memory = ops.linear_attention_step(
            c_BHK, b_BHK, step_BH1 * x_BHV, state["memory"], log_decay_BH
        )
        return self._read(o_BHV, x_BHV, x_BD), {"recent": recent, "memory": memory}

    def _heads(self, xbc: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x (..., H, V), and b and c (..., H, K), the same for all heads."""
        inner = self.heads * self.head_dim
        x, b, c = F.silu(xbc).split([inner, self.state, self.state], dim=-1)
        b, c = (y[..., None, :].expand(*y.shape[:-1], self.heads, -1) for y in (b, c))
        return x.unflatten(-1, (self.heads, -1)), b, c

    def _step(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The step (..., H, 1) and the log decay (..., H)."""
        step = F.softplus(self.project_step(x))
        return step[..., None], -self.log_rate.exp() * step

    def _read(self, o: Tensor, own: Tensor, x: Tensor) -> Tensor:
        passed = (o + self.passage[:, None] * own).flatten(-2)
        return self.project_out(self.norm(passed * F.silu(self.project_gate(x))))
