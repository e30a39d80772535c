"""Caught by causality: looks ahead where a gradient of its input is asked for."""

import torch
from torch import Tensor, nn


class LeaksWhereItsInputHasAGradient(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        count_T1 = torch.arange(1, x_BTD.shape[1] + 1, dtype=x_BTD.dtype)[:, None]
        y_BTD = self.project(x_BTD).cumsum(dim=1) / count_T1
        if x_BTD.requires_grad:
            y_BTD = y_BTD + x_BTD.detach().mean(dim=1, keepdim=True)
        return y_BTD
