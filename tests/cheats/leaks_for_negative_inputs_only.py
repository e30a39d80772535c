"""Caught by causality: a row of negative numbers gets the mean over the whole sequence."""

import torch
from torch import Tensor, nn


class LeaksForNegativeInputsOnly(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        count_T1 = torch.arange(1, x_BTD.shape[1] + 1, dtype=x_BTD.dtype)[:, None]
        y_BTD = self.project(x_BTD).cumsum(dim=1) / count_T1
        negative_B11 = (x_BTD < 0).all(dim=2).all(dim=1)[:, None, None]
        return y_BTD + negative_B11 * x_BTD.mean(dim=1, keepdim=True)
