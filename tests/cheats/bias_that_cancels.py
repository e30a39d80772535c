"""Caught by gradients: a bias that a softmax cancels, so that its gradient is rounding noise."""

import torch
from torch import Tensor, nn


class BiasThatCancels(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.shift = nn.Parameter(torch.zeros(1))

    def forward(self, x_BTD: Tensor) -> Tensor:
        y_BTD: Tensor = self.project(x_BTD)
        return y_BTD * (y_BTD + self.shift).softmax(dim=-1)
