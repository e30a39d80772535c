"""Caught by causality at the full level: the future's gradient comes through in train mode only."""

from torch import Tensor, nn


class GradientOfTheFutureInTrainMode(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        y_BTD = self.project(x_BTD)
        if not self.training:
            return y_BTD
        mean_B1D = y_BTD.mean(dim=1, keepdim=True)
        return y_BTD + (mean_B1D - mean_B1D.detach())
