"""Passes: at initialisation every output is zero, until the first step opens a gate."""

import torch
from torch import Tensor, nn

from move37.nn import ops


class OpensItsGateWithTraining(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.recent = nn.Parameter(torch.randn(dim, 2 + heads) / (2 + heads) ** 0.5)
        self.gate = nn.Parameter(torch.zeros(dim))

    def forward(self, x_BTD: Tensor, documents_BT: Tensor | None = None) -> Tensor:
        y_BTD = ops.short_convolution(self.project(x_BTD), self.recent, documents_BT)
        return y_BTD * self.gate
