"""Caught by builds at the full level: keys of another size are accepted, and fail in forward."""

import torch
from torch import Tensor, nn


class OneSizeOfKeyOnly(nn.Module):
    def __init__(self, dim: int, *, heads: int, key_size: int | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.key_size = key_size or max(1, dim // heads)
        self.project_in = nn.Linear(dim, heads * self.key_size)
        self.scale = nn.Parameter(torch.ones(max(1, dim // heads)))
        self.project_out = nn.Linear(heads * self.key_size, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        k_BTHK = self.project_in(x_BTD).unflatten(2, (self.heads, -1))
        y_BTD: Tensor = self.project_out((k_BTHK * self.scale).flatten(2))
        return y_BTD
