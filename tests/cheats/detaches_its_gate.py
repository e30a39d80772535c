"""Caught by gradients: a gate that can be seen, but not learned."""

import torch
from torch import Tensor, nn


class DetachesItsGate(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.gate = nn.Parameter(torch.ones(dim))

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD) * self.gate.detach()
