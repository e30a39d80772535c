"""Caught by causality: it hears the future behind a gate that starts open."""

import torch
from torch import Tensor, nn


class FutureWhereItsOwnGateIsOpen(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.gate = nn.Parameter(torch.full((dim,), 3.0))

    def forward(self, x_BTD: Tensor) -> Tensor:
        count_T1 = torch.arange(1, x_BTD.shape[1] + 1, dtype=x_BTD.dtype)[:, None]
        y_BTD = self.project(x_BTD).cumsum(dim=1) / count_T1
        return y_BTD + (self.gate - 2).relu() * x_BTD.mean(dim=1, keepdim=True)
