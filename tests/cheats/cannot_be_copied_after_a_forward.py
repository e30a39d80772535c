"""Caught by restorable: the first forward leaves a generator behind."""

from typing import Any

from torch import Tensor, nn


class CannotBeCopiedAfterAForward(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.places: Any = None

    def forward(self, x_BTD: Tensor) -> Tensor:
        self.places = (t for t in range(x_BTD.shape[1]))
        return self.project(x_BTD)
