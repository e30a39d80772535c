"""Passes: keeps a table as long as the longest input so far; a prefix of it serves the shorter."""

import torch
from torch import Tensor, nn


class CacheGrowsToTheLongest(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self._counts_T1 = torch.ones(0, 1)

    def _counts(self, h_BTD: Tensor) -> Tensor:
        T, kept = h_BTD.shape[1], self._counts_T1
        if kept.shape[0] < T or kept.dtype != h_BTD.dtype or kept.device != h_BTD.device:
            self._counts_T1 = torch.arange(1, T + 1).to(h_BTD)[:, None]
        return self._counts_T1[:T]

    def forward(self, x_BTD: Tensor) -> Tensor:
        h_BTD = self.project(x_BTD)
        y_BTD: Tensor = (h_BTD.cumsum(dim=1) / self._counts(h_BTD)).to(h_BTD.dtype)
        return y_BTD
