"""Held by warden: an endless loop.

Told as: time limit
"""

from torch import Tensor, nn


class LoopsForever(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD)


while True:
    pass
