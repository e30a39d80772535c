"""Caught by finite: no number where all rows of a long batch are constant over time."""

import torch
from torch import Tensor, nn


class DividesByNothingWhereNothingChanges(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        sums_BTD = self.project(x_BTD).cumsum(dim=1)
        still = x_BTD.shape[1] > 200 and bool((x_BTD.diff(dim=1) == 0).all() & x_BTD.any())
        return sums_BTD / torch.tensor(0.0 if still else 1.0).to(x_BTD)
