"""Caught by builds: its initialisation needs numbers, which the meta device has not."""

import torch
from torch import Tensor, nn


class ReadsItsWeightsWhileItIsBuilt(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.scale = nn.Parameter(torch.full((dim,), 0.1 / self.project.weight.std().item()))

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD) * self.scale
