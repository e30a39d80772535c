"""Hymba: attention and a state space side by side in one layer."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from move37.nn import ops


class Hymba(nn.Module):
    """A hybrid: every head reads both the last positions exactly and all the past by a memory.

    Per head, with a state S of shape (V, K) that starts at zero:

        S <- exp(-r d_t) S + d_t v_t k_t^T         the memory of a state space
        w_t = sum over t - W < s <= t of softmax_s(q_t . k_s / sqrt(K) + c_ts) v_s
        o_t = (g norm(w_t) + h norm(S q_t)) / 2    the mean of both

    with d_t = softplus(..) > 0, a learned rate r of each head, a learned bias c for each distance,
    and learned vectors g and h. Both see the same q, k and v, which pass a causal convolution of
    width 4 and a SiLU. The paper's learned first tokens and its few layers of full attention are
    left out. Shapes: B batch, T time, D model width, H heads, K = V head size, W window.
    Time O(T H K (V + W)); the state holds H V K + (W - 1) H (2 K + 1) numbers and the last 3
    inputs of the convolution. Dong et al. arXiv:2411.13676.
    """

    def __init__(self, dim: int, *, heads: int, window: int = 16) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = ops.head_size(dim, heads)
        inner = heads * self.head_dim
        self.project_qkv = nn.Linear(dim, 3 * inner, bias=False)
        self.convolution = nn.Conv1d(3 * inner, 3 * inner, 4, groups=3 * inner, bias=False)
        self.bias = nn.Parameter(torch.zeros(heads, window))
        self.project_step = nn.Linear(dim, heads)
        # Decay rates from 1 to 16, as in Mamba-2: some heads keep for long, some forget fast.
        self.log_rate = nn.Parameter(torch.linspace(1, 16, heads).log())
        self.near_norm = nn.RMSNorm(self.head_dim, eps=1e-5)
        self.far_norm = nn.RMSNorm(self.head_dim, eps=1e-5)
        self.project_out = nn.Linear(inner, dim, bias=False)
        nn.init.constant_(self.project_step.bias, -4.0)  # softplus(-4) = 0.018 per token

    def forward(self, x_BTD: Tensor, documents_BT: Tensor | None = None) -> Tensor:
        """Maps (B, T, D) to (B, T, D); output t sees inputs 0..t of its document."""
        qkv = self.project_qkv(x_BTD)
        qkv = ops.short_convolution(qkv, self.convolution.weight[:, 0], documents_BT)
        q_BTHK, k_BTHK, v_BTHV = self._heads(qkv)
        near_BTHV = ops.sliding_window_attention(q_BTHK, k_BTHK, v_BTHV, self.bias, documents_BT)
        step_BTH1, log_decay_BTH = self._step(x_BTD)
        far_BTHV = ops.linear_attention(
            q_BTHK, k_BTHK, step_BTH1 * v_BTHV, log_decay_BTH, documents_BT
        )
        return self._read(near_BTHV, far_BTHV)

    def initial_state(self, batch: int) -> dict[str, Tensor]:
        """Returns the state before the first token."""
        zeros = self.project_out.weight.new_zeros
        return {
            "recent": zeros(batch, 3, self.project_qkv.out_features),
            "window": zeros(batch, self.bias.shape[1] - 1, self.heads, 2 * self.head_dim + 1),
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
        near_BHV, window = ops.sliding_window_attention_step(
            q_BHK, k_BHK, v_BHV, self.bias, state["window"]
        )
        step_BH1, log_decay_BH = self._step(x_BD)
        far_BHV, memory = ops.linear_attention_step(
            q_BHK, k_BHK, step_BH1 * v_BHV, state["memory"], log_decay_BH
        )
        state = {"recent": recent, "window": window, "memory": memory}
        return self._read(near_BHV, far_BHV), state

    def _heads(self, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = F.silu(qkv).unflatten(-1, (3 * self.heads, -1)).chunk(3, dim=-2)
        return q, k, v

    def _step(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The step (..., H, 1) and the log decay (..., H)."""
        step = F.softplus(self.project_step(x))
        return step[..., None], -self.log_rate.exp() * step

    def _read(self, near: Tensor, far: Tensor) -> Tensor:
        mean = (self.near_norm(near) + self.far_norm(far)) / 2
        return self.project_out(mean.flatten(-2))
