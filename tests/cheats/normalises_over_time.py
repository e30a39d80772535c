"""Caught by causality: every output is divided by the size of the whole sequence."""

from torch import Tensor, nn


class NormalisesOverTime(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        y_BTD = self.project(x_BTD)
        return y_BTD * (y_BTD.square().mean(dim=1, keepdim=True) + 1e-6).rsqrt()
