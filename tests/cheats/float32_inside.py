"""Caught by precision: a cast to float32 and back, whatever it is given."""

import torch
from torch import Tensor, nn


class Float32Inside(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.rate = nn.Parameter(torch.ones(dim))

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD) + self.rate * x_BTD.float().tanh().to(x_BTD.dtype)
