"""Caught by interface: gives float64 whatever it is given."""

from torch import Tensor, nn


class WidensToFloat64(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD).double()
