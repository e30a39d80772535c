"""Caught by chunking: the state decays at the border of a chunk instead of at each token."""

import torch
from torch import Tensor, nn


class ForgetsOncePerChunk(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.chunk_size = 32
        self.decay = nn.Parameter(torch.ones(dim))

    def forward(self, x_BTD: Tensor) -> Tensor:
        state_B1D = torch.zeros_like(x_BTD[:, :1])
        outputs_BLD = []
        for chunk_BLD in self.project(x_BTD).split(self.chunk_size, dim=1):
            outputs_BLD.append(state_B1D + chunk_BLD.cumsum(dim=1))
            state_B1D = self.decay.sigmoid() * outputs_BLD[-1][:, -1:]
        return torch.cat(outputs_BLD, dim=1)
