"""Passes: remembers one token in sixteen, counted from the start, and no token between them."""

import torch
from torch import Tensor, nn

STRIDE = 16


class KeepsEverySixteenthToken(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        h_BTD = self.project(x_BTD)
        # N tokens are kept.
        kept_BND = h_BTD[:, ::STRIDE]
        counts_N1 = torch.arange(1, kept_BND.shape[1] + 1).to(h_BTD)[:, None]
        mean_BND = (kept_BND.cumsum(dim=1) / counts_N1).to(h_BTD.dtype)
        y_BTD: Tensor = h_BTD + mean_BND.repeat_interleave(STRIDE, dim=1)[:, : x_BTD.shape[1]]
        return y_BTD
