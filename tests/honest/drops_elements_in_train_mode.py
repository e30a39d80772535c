"""Passes: dropout inside the memory, in train mode only and for each element by itself."""

import torch.nn.functional as F
from torch import Tensor, nn

from move37.nn import ops


class DropsElementsInTrainMode(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = max(1, dim // heads)
        inner = heads * self.head_dim
        self.project_qkv = nn.Linear(dim, 3 * inner)
        self.dropout = nn.Dropout(0.2)
        self.norm = nn.RMSNorm(self.head_dim, eps=1e-5)
        self.project_out = nn.Linear(inner, dim)

    def forward(self, x_BTD: Tensor, documents_BT: Tensor | None = None) -> Tensor:
        qkv = self.project_qkv(self.dropout(x_BTD)).unflatten(-1, (3 * self.heads, -1))
        q, k, v = qkv.chunk(3, dim=-2)
        k = F.dropout(F.elu(k) + 1, 0.1, self.training)
        o = self.norm(ops.linear_attention(F.elu(q) + 1, k, v, None, documents_BT))
        y_BTD: Tensor = self.dropout(self.project_out(o.flatten(-2)))
        return y_BTD
