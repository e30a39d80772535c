"""Caught by precision: near one, a gate is rounded, and the logarithm of the rest is infinite."""

import torch
from torch import Tensor, nn


class InfiniteForLargeInputsInBfloat16(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        y_BTD = self.project(x_BTD)
        gate_BTD = torch.sigmoid(y_BTD.clamp(-8, 8))
        return y_BTD + 1e-3 * torch.log(1 - gate_BTD)
