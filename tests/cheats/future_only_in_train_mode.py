"""Caught by causality: honest in eval mode, leaks while it is trained."""

from torch import Tensor, nn


class FutureOnlyInTrainMode(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        y_BTD = self.project(x_BTD)
        return y_BTD + 0.01 * y_BTD.flip(1) if self.training else y_BTD
