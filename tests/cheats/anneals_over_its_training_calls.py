"""Caught by repeatable: counts its calls in train mode, and becomes another function by it."""

from torch import Tensor, nn


class AnnealsOverItsTrainingCalls(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.calls += 1
        floor = 0.0 if self.calls < 3 else 0.1
        return self.project(x) + floor * x
