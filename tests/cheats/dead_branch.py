"""Caught by gradients: a branch with a parameter that no input ever takes."""

import torch
from torch import Tensor, nn


class DeadBranch(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.extreme = nn.Parameter(torch.ones(dim))

    def forward(self, x_BTD: Tensor) -> Tensor:
        extreme_BTD = x_BTD.abs() > 1e30
        return torch.where(extreme_BTD, self.extreme * x_BTD, self.project(x_BTD))
