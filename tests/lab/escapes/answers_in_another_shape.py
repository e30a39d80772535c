"""Held by measuring: outputs of another shape than was asked for.

Told as: ValueError: the mixer returned
"""

from torch import Tensor, nn


class AnswersInAnotherShape(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD)[:, :-1]
