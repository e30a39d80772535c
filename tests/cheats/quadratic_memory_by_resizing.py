"""Caught by memory: a small tensor is resized to a number per pair of tokens."""

import torch
from torch import Tensor, nn


class QuadraticMemoryByResizing(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        T = x_BTD.shape[1]
        places_T = x_BTD.new_empty(1).resize_(T, T).diagonal()
        places_T.copy_(torch.arange(T))
        return self.project(x_BTD) + places_T.sin()[:, None]
