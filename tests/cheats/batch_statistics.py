"""Caught by independence: a row's output depends on the other rows of the batch."""

from torch import Tensor, nn


class BatchStatistics(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        y_BTD = self.project(x_BTD)
        return y_BTD - y_BTD.mean(dim=0, keepdim=True)
