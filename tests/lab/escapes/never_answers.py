"""Held by measuring: a forward pass without end.

Told as: time limit
"""

import torch
from torch import Tensor, nn


class NeverAnswers(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        with torch.no_grad():
            while True:
                x_BTD = self.project(x_BTD)
