"""Caught by builds: a parameter is whatever lay in memory."""

import torch
from torch import Tensor, nn


class UninitialisedParameter(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.shift = nn.Parameter(torch.empty(dim))

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD) + self.shift
