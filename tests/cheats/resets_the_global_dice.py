"""Caught by repeatable: seeds the generator that belongs to all, without a draw of its own."""

import torch
from torch import Tensor, nn


class ResetsTheGlobalDice(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        torch.manual_seed(37)
        return self.project(x_BTD)
