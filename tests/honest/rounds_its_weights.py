"""Passes: weights of -1, 0 and 1, whose gradient goes straight to the numbers behind them."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from move37.nn import ops


class RoundsItsWeights(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = max(1, dim // heads)
        inner = heads * self.head_dim
        self.project_qkv = _Ternary(dim, 3 * inner)
        self.norm = nn.RMSNorm(self.head_dim, eps=1e-5)
        self.project_out = _Ternary(inner, dim)

    def forward(self, x_BTD: Tensor, documents_BT: Tensor | None = None) -> Tensor:
        qkv = self.project_qkv(x_BTD).unflatten(-1, (3 * self.heads, -1))
        q, k, v = qkv.chunk(3, dim=-2)
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        o = self.norm(ops.linear_attention(q, k, v, None, documents_BT))
        y_BTD: Tensor = self.project_out(o.flatten(-2))
        return y_BTD


class _Ternary(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / inputs**0.5)

    def forward(self, x: Tensor) -> Tensor:
        size = self.weight.abs().mean().clamp(min=1e-6)
        rounded = (self.weight / size).round().clamp(-1, 1) * size
        return F.linear(x, self.weight + (rounded - self.weight).detach())
