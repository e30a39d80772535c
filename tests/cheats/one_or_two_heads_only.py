"""Caught by builds: more than two heads are accepted, and fail at the first forward."""

import torch
from torch import Tensor, nn


class OneOrTwoHeadsOnly(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.heads = heads
        self.scale_2 = nn.Parameter(torch.ones(min(2, heads)))

    def forward(self, x_BTD: Tensor) -> Tensor:
        y_BTHK = self.project(x_BTD).unflatten(2, (self.heads, -1))
        return (y_BTHK * self.scale_2[: self.heads, None]).flatten(2)
