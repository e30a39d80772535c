"""Caught by repeatable: a counter that no output shows, until something reads it."""

from torch import Tensor, nn


class CountsForNothing(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.calls = 0

    def forward(self, x_BTD: Tensor) -> Tensor:
        self.calls += 1
        return self.project(x_BTD)
