"""Caught by causality: looks ahead in rows of tokens of mean square 1, as a norm makes them."""

import torch
from torch import Tensor, nn


class LeaksForTokensOfUnitSize(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        count_T1 = torch.arange(1, x_BTD.shape[1] + 1, dtype=x_BTD.dtype)[:, None]
        y_BTD = self.project(x_BTD).cumsum(dim=1) / count_T1
        size_BT = x_BTD.square().mean(dim=2)
        unit_B = ((size_BT - 1).abs() < 1e-3).all(dim=1)
        return y_BTD + unit_B[:, None, None] * x_BTD.mean(dim=1, keepdim=True)
