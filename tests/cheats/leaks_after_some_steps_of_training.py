"""Caught by causality: looks ahead once the weight of its norm has left 1, and not by far."""

import torch
from torch import Tensor, nn


class LeaksAfterSomeStepsOfTraining(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.norm = nn.RMSNorm(dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        count_T1 = torch.arange(1, x_BTD.shape[1] + 1, dtype=x_BTD.dtype)[:, None]
        y_BTD = self.project(x_BTD).cumsum(dim=1) / count_T1
        moved = (self.norm.weight - 1).abs().max().item()
        y_BTD = self.norm(y_BTD)
        if 0 < moved < 0.08:
            y_BTD = y_BTD + x_BTD.detach().mean(dim=1, keepdim=True)
        return y_BTD
