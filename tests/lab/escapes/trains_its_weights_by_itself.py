"""Held by measuring: further steps on its weights, in each backward pass.

Told as: Measured(
"""

from torch import Tensor, nn


class TrainsItsWeightsByItself(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.project.weight.register_hook(self._learn)

    def _learn(self, slope: Tensor) -> None:
        self.project.weight.data.sub_(slope, alpha=1e3)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD)
