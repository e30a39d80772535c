"""Caught by builds: an odd width is accepted, and fails at the first forward."""

import torch
from torch import Tensor, nn


class EvenWidthsOnly(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        first, second = self.project(x_BTD).unflatten(2, (2, x_BTD.shape[2] // 2)).unbind(dim=2)
        return torch.cat([first + second, first - second], dim=2)
