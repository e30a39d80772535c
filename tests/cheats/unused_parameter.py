"""Caught by gradients: a parameter that only makes the model look larger."""

from torch import Tensor, nn


class UnusedParameter(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.forgotten = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD)
