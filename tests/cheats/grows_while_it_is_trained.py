"""Caught after training: adds parameters once nobody counts them any more."""

import itertools

import torch
from torch import Tensor, nn


class GrowsWhileItIsTrained(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.dim = dim
        self.project = nn.Sequential(nn.Linear(dim, dim))
        self.calls = itertools.count()

    def forward(self, x_BTD: Tensor) -> Tensor:
        late = (
            self.training
            and x_BTD.dtype == torch.float32
            and x_BTD.shape[0] > 4
            and next(self.calls) > 2
        )
        if late and len(self.project) == 1:
            self.project.append(nn.Linear(self.dim, 40 * self.dim))
            self.project.append(nn.Linear(40 * self.dim, self.dim))
        return self.project(x_BTD)
