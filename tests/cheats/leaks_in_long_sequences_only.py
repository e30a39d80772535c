"""Caught by causality at the full level: a mean over all time, for more than 130 tokens."""

from torch import Tensor, nn


class LeaksInLongSequencesOnly(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        y_BTD = self.project(x_BTD)
        return y_BTD + y_BTD.mean(dim=1, keepdim=True) if x_BTD.shape[1] > 130 else y_BTD
