"""Caught by precision: a decay near one becomes one in bfloat16, and then it divides by zero."""

import torch
from torch import Tensor, nn


class OneMinusADecay(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.decay = nn.Parameter(torch.full((dim,), 7.0))

    def forward(self, x_BTD: Tensor) -> Tensor:
        decay_D = self.decay.sigmoid()
        return self.project(x_BTD) * (1e-3 / (1 - decay_D))
