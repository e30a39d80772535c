"""Held by measuring: weights from dice that nobody has seeded.

Told as: give other weights
"""

import torch
from torch import Tensor, nn


class HasAHandInItsDice(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        os = vars(torch)["os"]
        self.project.weight.data *= 1 + int.from_bytes(os.urandom(4)) / 2**32

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD)
