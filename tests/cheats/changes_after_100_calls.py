"""Caught by repeatable at the full level: another function from the hundredth call on."""

from torch import Tensor, nn


class ChangesAfter100Calls(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        # An iterator counts without a number that anyone could read.
        self.honest = iter(range(100))

    def forward(self, x_BTD: Tensor) -> Tensor:
        y_BTD = self.project(x_BTD)
        return y_BTD.tanh() if next(self.honest, None) is None else y_BTD
