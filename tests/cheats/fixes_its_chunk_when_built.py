"""Caught by chunking: how long a chunk is, is fixed when it is built, and nothing is carried on."""

import torch
from torch import Tensor, nn


class FixesItsChunkWhenBuilt(nn.Module):
    mask: Tensor

    def __init__(self, dim: int, *, heads: int, chunk_size: int = 16) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.register_buffer("mask", torch.ones(chunk_size, chunk_size).tril(), persistent=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        parts = self.project(x_BTD).split(len(self.mask), dim=1)
        return torch.cat([self.mask[: x.shape[1], : x.shape[1]] @ x for x in parts], dim=1)
