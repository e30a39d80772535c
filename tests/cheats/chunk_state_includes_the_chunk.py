"""Caught by causality: the state that a chunk starts from already holds that chunk."""

import torch.nn.functional as F
from torch import Tensor, nn


class ChunkStateIncludesTheChunk(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        T, y_BTD = x_BTD.shape[1], self.project(x_BTD)
        chunks_BCLD = F.pad(y_BTD, (0, 0, 0, -T % 16)).unflatten(1, (-1, 16))
        states_BC1D = chunks_BCLD.sum(dim=2, keepdim=True).cumsum(dim=1)
        return y_BTD + states_BC1D.expand_as(chunks_BCLD).flatten(1, 2)[:, :T]
