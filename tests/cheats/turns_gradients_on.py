"""Caught by repeatable: where gradients were off, they are on from then on."""

import torch
from torch import Tensor, nn


class TurnsGradientsOn(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        torch.set_grad_enabled(True)
        return self.project(x_BTD)
