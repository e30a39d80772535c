"""Caught by repeatable: what was seen before leaks into the next call through a buffer."""

import torch
from torch import Tensor, nn


class RemembersTheLastBatch(nn.Module):
    last: Tensor

    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.register_buffer("last", torch.zeros(dim))

    def forward(self, x_BTD: Tensor) -> Tensor:
        y_BTD = self.project(x_BTD) + self.last.to(x_BTD.dtype)
        self.last = x_BTD.detach().mean(dim=(0, 1))
        return y_BTD
