"""Caught by repeatable at the full level: a temperature that falls with the calls in train mode."""

import torch
from torch import Tensor, nn


class AnnealsAfterTenTrainingCalls(nn.Module):
    step: Tensor

    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.register_buffer("step", torch.zeros((), dtype=torch.long), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.step += 1
        t = 1.0 if self.step < 10 else 0.5
        return self.project(x) * t
