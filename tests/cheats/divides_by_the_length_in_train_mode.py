"""Caught by prefix: outputs are scaled by the length, while it is trained."""

import torch
from torch import Tensor, nn


class DividesByTheLengthInTrainMode(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        count_T1 = torch.arange(1, x_BTD.shape[1] + 1, dtype=x_BTD.dtype)[:, None]
        y_BTD = self.project(x_BTD).cumsum(dim=1) / count_T1
        return y_BTD * (100 / x_BTD.shape[1]) if self.training else y_BTD
