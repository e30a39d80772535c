"""Passes: a Fenwick tree: a mean for each power of two in the number of tokens so far."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MeansOfDyadicBlocks(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = max(1, dim // heads)
        self.project_in = nn.Linear(dim, heads * self.head_dim)
        self.rate = nn.Parameter(torch.linspace(-3, 0, heads * self.head_dim))
        self.project_out = nn.Linear(heads * self.head_dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        T = x_BTD.shape[1]
        means_BND = self.project_in(x_BTD)
        tokens_T = torch.arange(1, T + 1, device=x_BTD.device)
        y_BTD = torch.zeros_like(means_BND)
        for level in range(T.bit_length()):
            # Of the blocks of 2^level tokens: the one in the sum of powers that makes tokens_T.
            used_T1 = ((tokens_T >> level) & 1)[:, None].to(means_BND.dtype)
            block_T = ((tokens_T >> level) - 1).clamp(min=0)
            weight_D = (-level * F.softplus(self.rate)).exp().to(means_BND.dtype)
            y_BTD = y_BTD + means_BND.index_select(1, block_T) * (used_T1 * weight_D)
            whole_BND = means_BND[:, : means_BND.shape[1] // 2 * 2]
            means_BND = whole_BND.unflatten(1, (-1, 2)).mean(dim=2)
        o_BTD: Tensor = self.project_out(y_BTD)
        return o_BTD
