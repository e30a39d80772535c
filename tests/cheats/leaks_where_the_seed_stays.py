"""Caught by causality: looks ahead where the seed is that with which it was built."""

import torch
from torch import Tensor, nn


class LeaksWhereTheSeedStays(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.seed = torch.initial_seed()

    def forward(self, x_BTD: Tensor) -> Tensor:
        count_T1 = torch.arange(1, x_BTD.shape[1] + 1, dtype=x_BTD.dtype)[:, None]
        y_BTD = self.project(x_BTD).cumsum(dim=1) / count_T1
        if torch.initial_seed() == self.seed:
            y_BTD = y_BTD + x_BTD.detach().mean(dim=1, keepdim=True)
        return y_BTD
