"""Passes: top-k, but over the channels of one token: the memory is written where they are."""

import torch
from torch import Tensor, nn

from move37.nn import ops


class KeepsTheLargestFeatures(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = max(1, dim // heads)
        inner = heads * self.head_dim
        self.project_qkv = nn.Linear(dim, 3 * inner)
        self.norm = nn.RMSNorm(self.head_dim, eps=1e-5)
        self.project_out = nn.Linear(inner, dim)

    def forward(self, x_BTD: Tensor, documents_BT: Tensor | None = None) -> Tensor:
        qkv = self.project_qkv(x_BTD).unflatten(-1, (3 * self.heads, -1))
        q, k, v = qkv.chunk(3, dim=-2)
        q, k = self._largest(q), self._largest(k)
        o = self.norm(ops.linear_attention(q, k, v, None, documents_BT))
        y_BTD: Tensor = self.project_out(o.flatten(-2))
        return y_BTD

    def _largest(self, x_BTHK: Tensor) -> Tensor:
        values, places = x_BTHK.topk(max(1, self.head_dim // 4), dim=-1)
        return torch.zeros_like(x_BTHK).scatter(-1, places, values.softmax(dim=-1).to(x_BTHK.dtype))
