"""Caught by causality: a row of small numbers gets the mean over the whole sequence."""

import torch
from torch import Tensor, nn


class LeaksForSmallInputsOnly(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        count_T1 = torch.arange(1, x_BTD.shape[1] + 1, dtype=x_BTD.dtype)[:, None]
        y_BTD = self.project(x_BTD).cumsum(dim=1) / count_T1
        small_B11 = x_BTD.abs().amax(dim=(1, 2), keepdim=True) < 0.1
        return y_BTD + small_B11 * x_BTD.mean(dim=1, keepdim=True)
