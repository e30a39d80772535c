"""Passes: pooling over time with its window moved back, so that it ends at the token itself."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class HoldsMovingMaxima(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = max(1, dim // heads)
        self.project_in = nn.Linear(dim, heads * self.head_dim)
        self.project_out = nn.Linear(2 * heads * self.head_dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        v_BDT = self.project_in(x_BTD).transpose(1, 2)
        highest = F.max_pool1d(F.pad(v_BDT, (7, 0), value=float("-inf")), 8, stride=1)
        average = F.avg_pool1d(F.pad(v_BDT, (31, 0)), 32, stride=1)
        both = highest.transpose(1, 2), average.transpose(1, 2)
        y_BTD: Tensor = self.project_out(torch.cat(both, dim=-1))
        return y_BTD
