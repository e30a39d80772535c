"""Caught by interface: one token is lost."""

from torch import Tensor, nn


class WrongShape(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD[:, 1:]) if x_BTD.shape[1] > 1 else self.project(x_BTD)
