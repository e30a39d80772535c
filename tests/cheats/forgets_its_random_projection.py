"""Caught by restorable: a random matrix that is neither parameter nor buffer."""

import torch
from torch import Tensor, nn


class ForgetsItsRandomProjection(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.mix_DD = torch.randn(dim, dim) * dim**-0.5

    def forward(self, x_BTD: Tensor) -> Tensor:
        y_BTD = self.project(x_BTD)
        return y_BTD @ self.mix_DD.to(y_BTD)
