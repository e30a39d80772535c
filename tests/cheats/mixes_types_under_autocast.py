"""Caught by precision: autocast gives it two types, and an operator that takes one."""

import torch
from torch import Tensor, nn


class MixesTypesUnderAutocast(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        y_BTD = self.project(x_BTD)
        return torch.lerp(x_BTD, y_BTD, 0.5)
