"""Caught by causality: a scan from the right is let in by a gate that starts at zero."""

import torch
from torch import Tensor, nn


class ScansBothWaysBehindAZeroGate(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.gate = nn.Parameter(torch.zeros(dim))

    def forward(self, x_BTD: Tensor) -> Tensor:
        y_BTD = self.project(x_BTD)
        return y_BTD.cumsum(dim=1) + self.gate * y_BTD.flip(1).cumsum(dim=1).flip(1)
