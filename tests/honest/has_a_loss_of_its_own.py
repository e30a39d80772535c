"""Passes: its own loss is computed where it is asked for, from its weights; no graph is kept."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from move37.nn import ops


class HasALossOfItsOwn(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = max(1, dim // heads)
        inner = heads * self.head_dim
        self.project_qkv = nn.Linear(dim, 3 * inner)
        self.project_out = nn.Linear(inner, dim)

    def forward(self, x_BTD: Tensor, documents_BT: Tensor | None = None) -> Tensor:
        qkv = self.project_qkv(x_BTD).unflatten(-1, (3 * self.heads, -1))
        q, k, v = qkv.chunk(3, dim=-2)
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        beta_BTH = torch.full_like(q[..., 0], 0.5)
        o = ops.delta_rule(q, k, v, beta_BTH, None, documents_BT)
        y_BTD: Tensor = self.project_out(o.flatten(-2))
        return y_BTD

    def auxiliary_loss(self) -> Tensor:
        """Returns how far the rows of the output weight are from orthogonal."""
        rows = F.normalize(self.project_out.weight, dim=-1)
        return 1e-3 * (rows @ rows.t()).triu(1).square().mean()
