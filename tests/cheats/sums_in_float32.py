"""Caught by precision: an operator casts by its argument, not by a cast that shows."""

import torch
from torch import Tensor, nn


class SumsInFloat32(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD).cumsum(dim=1, dtype=torch.float32).to(x_BTD.dtype)
