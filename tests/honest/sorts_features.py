"""Passes: sorts, but the channels of one token and never tokens."""

import torch
from torch import Tensor, nn

from move37.nn import ops


class SortsFeatures(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = max(1, dim // heads)
        self.project_in = nn.Linear(dim, heads * self.head_dim)
        self.rank = nn.Parameter(torch.linspace(-1, 1, heads * self.head_dim))
        self.recent = nn.Parameter(torch.randn(heads * self.head_dim, 4) / 2)
        self.project_out = nn.Linear(heads * self.head_dim, dim)

    def forward(self, x_BTD: Tensor, documents_BT: Tensor | None = None) -> Tensor:
        v_BTHV = self.project_in(x_BTD).unflatten(-1, (self.heads, -1))
        sorted_BTD = v_BTHV.sort(dim=-1).values.flatten(-2) * self.rank
        recent_BTD = ops.short_convolution(sorted_BTD, self.recent, documents_BT)
        y_BTD: Tensor = self.project_out(recent_BTD)
        return y_BTD
