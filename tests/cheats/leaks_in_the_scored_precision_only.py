"""Caught by causality: honest in float64, not in float32, in which it is scored."""

import torch
from torch import Tensor, nn


class LeaksInTheScoredPrecisionOnly(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        y_BTD = self.project(x_BTD)
        return y_BTD + x_BTD.roll(-1, dims=1) if x_BTD.dtype == torch.float32 else y_BTD
