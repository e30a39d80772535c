"""Caught by gradients: two factors start at zero, so that neither ever gets a gradient."""

import torch
from torch import Tensor, nn


class DeadBehindTwoZeros(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.gate = nn.Parameter(torch.zeros(dim))
        self.scale = nn.Parameter(torch.zeros(dim))

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD) + self.gate * self.scale * x_BTD
