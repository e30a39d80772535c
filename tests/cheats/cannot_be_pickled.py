"""Caught by restorable: an attribute is a function without a name."""

from typing import Any

from torch import Tensor, nn


class CannotBePickled(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.activation: Any = lambda x: x.tanh()

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.activation(self.project(x_BTD))
