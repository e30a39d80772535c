"""Caught by independence: outputs are scaled by the number of rows, while it is trained."""

import torch
from torch import Tensor, nn


class DividesByTheBatchInTrainMode(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        count_T1 = torch.arange(1, x_BTD.shape[1] + 1, dtype=x_BTD.dtype)[:, None]
        y_BTD = self.project(x_BTD).cumsum(dim=1) / count_T1
        return y_BTD * (4 / x_BTD.shape[0]) if self.training else y_BTD
