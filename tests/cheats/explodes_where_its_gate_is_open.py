"""Caught by finite: a gate that its bias holds wide open gives no number."""

import torch
from torch import Tensor, nn


class ExplodesWhereItsGateIsOpen(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.gate_bias = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        return self.project(x) / (1 - torch.tanh(self.gate_bias))
