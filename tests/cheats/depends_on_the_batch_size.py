"""Caught by independence: a row's output depends on how many rows there are."""

from torch import Tensor, nn


class DependsOnTheBatchSize(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD) / x_BTD.shape[0]
