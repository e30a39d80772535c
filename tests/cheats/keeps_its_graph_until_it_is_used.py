"""Caught by restorable: training leaves a tensor of the graph, which cannot be copied, behind."""

from torch import Tensor, nn


class KeepsItsGraphUntilItIsUsed(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.last: Tensor | None = None

    def forward(self, x_BTD: Tensor) -> Tensor:
        y_BTD: Tensor = self.project(x_BTD)
        self.last = y_BTD if self.training else None
        return y_BTD
