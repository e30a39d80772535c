"""Held by warden: a recursion that Python ends.

Told as: RecursionError
"""

from torch import Tensor, nn


class Recurses(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD)


def deeper() -> None:
    deeper()


deeper()
