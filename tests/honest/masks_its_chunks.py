"""Passes: a mask as long as a chunk is made once, and what a chunk ends with is carried on."""

import torch
from torch import Tensor, nn


class MasksItsChunks(nn.Module):
    mask: Tensor

    def __init__(self, dim: int, *, heads: int, chunk_size: int = 16) -> None:
        super().__init__()
        self.chunk_size = chunk_size
        self.project = nn.Linear(dim, dim)
        self.rate = nn.Parameter(torch.linspace(-3, 0, dim))
        self.register_buffer("mask", torch.ones(chunk_size, chunk_size).tril())

    def forward(self, x_BTD: Tensor) -> Tensor:
        outputs, total_B1D = [], torch.zeros_like(x_BTD[:, :1])
        for x in self.project(x_BTD).split(self.chunk_size, dim=1):
            outputs.append(total_B1D + self.mask[: x.shape[1], : x.shape[1]] @ x)
            total_B1D = outputs[-1][:, -1:]
        return torch.cat(outputs, dim=1) * self.rate.exp()
