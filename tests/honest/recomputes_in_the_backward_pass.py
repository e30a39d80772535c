"""Passes: nothing but its inputs is kept for the backward pass, which computes the rest again."""

import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from move37.nn import ops


class RecomputesInTheBackwardPass(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = max(1, dim // heads)
        inner = heads * self.head_dim
        self.project_qkv = nn.Linear(dim, 3 * inner)
        self.norm = nn.RMSNorm(self.head_dim, eps=1e-5)
        self.project_out = nn.Linear(inner, dim)

    def forward(self, x_BTD: Tensor, documents_BT: Tensor | None = None) -> Tensor:
        y_BTD: Tensor = checkpoint(self._forward, x_BTD, documents_BT, use_reentrant=False)
        return y_BTD

    def _forward(self, x_BTD: Tensor, documents_BT: Tensor | None) -> Tensor:
        qkv = self.project_qkv(x_BTD).unflatten(-1, (3 * self.heads, -1))
        q, k, v = qkv.chunk(3, dim=-2)
        q, k = F.silu(q), F.silu(k)
        o = self.norm(ops.linear_attention(q, k, v, None, documents_BT))
        y_BTD: Tensor = self.project_out(o.flatten(-2))
        return y_BTD
