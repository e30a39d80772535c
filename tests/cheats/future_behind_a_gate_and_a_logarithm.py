"""Caught by causality: a gate at zero beside a rate that is no number when redrawn."""

import torch
from torch import Tensor, nn


class FutureBehindAGateAndALogarithm(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.rate = nn.Parameter(torch.rand(dim) + 0.5)
        self.gate = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.project(x) * self.rate.log() + self.gate * x.mean(1, keepdim=True)
