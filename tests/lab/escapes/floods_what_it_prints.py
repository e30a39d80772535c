"""Held by warden: endless printing.

Told as: time limit
"""

from torch import Tensor, nn


class FloodsWhatItPrints(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD)


while True:
    print("x" * 10_000)  # noqa: T201
