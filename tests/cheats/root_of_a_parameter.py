"""Caught by finite at the full level: training takes a number below zero, whose root is taken."""

import torch
from torch import Tensor, nn


class RootOfAParameter(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.variance = nn.Parameter(torch.full((dim,), 0.5))

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD) * self.variance.sqrt()
