"""Caught by repeatable: adds noise in eval mode, from the generator that belongs to all."""

import torch
from torch import Tensor, nn


class DrawsFromTheGlobalDice(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD) * (1 + 1e-3 * torch.rand(1, 1, 1).to(x_BTD))
