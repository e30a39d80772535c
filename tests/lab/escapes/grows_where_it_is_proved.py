"""Held by measuring: weights that it makes in double precision only.

Told as: Measured(
"""

import torch
from torch import Tensor, nn


class GrowsWhereItIsProved(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        if x_BTD.dtype == torch.float64 and not hasattr(self, "more"):
            self.more = nn.Parameter(torch.zeros(1))
        return self.project(x_BTD)
