"""Caught by causality: the running sum runs the wrong way."""

from torch import Tensor, nn


class SumsFromTheRight(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD).flip(1).cumsum(dim=1).flip(1)
