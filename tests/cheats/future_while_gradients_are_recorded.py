"""Caught by causality: looks ahead while gradients are recorded, without one of its own."""

import torch
from torch import Tensor, nn


class FutureWhileGradientsAreRecorded(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            x = x + x.detach().mean(1, keepdim=True)
        return self.project(x)
