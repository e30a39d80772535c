"""Caught by causality at the full level: looks ahead in float32, and not where it is proved."""

import torch
from torch import Tensor, nn


class FutureInFloat32Only(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype != torch.float64:
            x = x + x.mean(1, keepdim=True)
        return self.project(x)
