"""Caught by gradients: a gate that is rounded, so that its gradient is zero."""

import torch
from torch import Tensor, nn


class RoundsItsGate(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.gate = nn.Parameter(torch.randn(dim))

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD) * (1 + self.gate.sigmoid().round())
