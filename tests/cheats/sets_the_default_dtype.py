"""Caught by repeatable: the default dtype of everyone becomes float64."""

import torch
from torch import Tensor, nn


class SetsTheDefaultDtype(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        torch.set_default_dtype(torch.float64)
        return self.project(x_BTD)
