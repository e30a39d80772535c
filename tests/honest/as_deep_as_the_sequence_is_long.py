"""Passes: log2 T floors, one more as T doubles; a floor that reaches beyond the start adds zero."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class AsDeepAsTheSequenceIsLong(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.share = nn.Parameter(torch.full((dim,), 0.5))

    def forward(self, x_BTD: Tensor) -> Tensor:
        y_BTD: Tensor = self.project(x_BTD)
        share_D = self.share.tanh().to(y_BTD.dtype)
        step = 1
        while step < x_BTD.shape[1]:
            y_BTD = y_BTD + share_D * F.pad(y_BTD, (0, 0, step, -step))
            step *= 2
        return y_BTD
