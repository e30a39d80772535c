"""Caught by causality: looks ahead where autocast is on."""

import torch
from torch import Tensor, nn


class LeaksUnderAutocast(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        count_T1 = torch.arange(1, x_BTD.shape[1] + 1, dtype=x_BTD.dtype)[:, None]
        y_BTD = self.project(x_BTD).cumsum(dim=1) / count_T1
        if torch.is_autocast_enabled("cpu"):
            y_BTD = y_BTD + x_BTD.detach().mean(dim=1, keepdim=True)
        return y_BTD
