"""Caught by prefix: more than 64 tokens are computed in another way."""

from torch import Tensor, nn


class LongSequencesTakeAnotherPath(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        y_BTD = self.project(x_BTD)
        return y_BTD.cumsum(dim=1) if x_BTD.shape[1] <= 64 else y_BTD.tanh().cumsum(dim=1)
