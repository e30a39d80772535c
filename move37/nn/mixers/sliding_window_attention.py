"""Sliding-window attention: softmax attention to the last few positions."""

import torch
from torch import Tensor, nn

from move37.nn import ops


class SlidingWindowAttention(nn.Module):
    """Attention over the last W positions, the own one included.

        o_t = sum over t - W < s <= t of softmax_s(q_t . k_s / sqrt(K) + c_ts) v_s

    with a learned bias c for each head and distance t - s. q, k and v pass a causal convolution of
    width 4, as in all mixers here. Shapes: B batch, T time, D model width, H heads, K head size.
    Time O(T W H K); the state holds (W - 1) H (2 K + 1) numbers, the last keys and values, and
    the last 3 inputs of the convolution. Beltagy et al. arXiv:2004.05150.
    """

    def __init__(self, dim: int, *, heads: int, window: int = 16) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = ops.head_size(dim, heads)
        inner = heads * self.head_dim
        self.project_qkv = nn.Linear(dim, 3 * inner, bias=False)
        self.convolution = nn.Conv1d(3 * inner, 3 * inner, 4, groups=3 * inner, bias=False)
        self.bias = nn.Parameter(torch.zeros(heads, window))
        self.project_out = nn.Linear(inner, dim, bias=False)

    def forward(self, x_BTD: Tensor, documents_BT: Tensor | None = None) -> Tensor:
        """Maps (B, T, D) to (B, T, D); output t sees inputs 0..t of its document."""
        qkv = self.project_qkv(x_BTD)
        qkv = ops.short_convolution(qkv, self.convolution.weight[:, 0], documents_BT)
        q_BTHK, k_BTHK, v_BTHK = qkv.unflatten(-1, (3 * self.heads, -1)).chunk(3, dim=-2)
        o_BTHK = ops.sliding_window_attention(q_BTHK, k_BTHK, v_BTHK, self.bias, documents_BT)
        return self.project_out(o_BTHK.flatten(-2))

    def initial_state(self, batch: int) -> dict[str, Tensor]:
        """Returns the state before the first token."""
        zeros = self.project_out.weight.new_zeros
        return {
            "recent": zeros(batch, 3, self.project_qkv.out_features),
            "window": zeros(batch, self.bias.shape[1] - 1, self.heads, 2 * self.head_dim + 1),
        }

    def step(self, x_BD: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Maps one token (B, D) and the state to the output (B, D) and the next state."""
        qkv, recent = ops.short_convolution_step(
            self.project_qkv(x_BD), self.convolution.weight[:, 0], state["recent"]
        )
        q_BHK, k_BHK, v_BHK = qkv.unflatten(-1, (3 * self.heads, -1)).chunk(3, dim=-2)
        o_BHK, window = ops.sliding_window_attention_step(
            q_BHK, k_BHK, v_BHK, self.bias, state["window"]
        )
        return self.project_out(o_BHK.flatten(-2)), {"recent": recent, "window": window}
