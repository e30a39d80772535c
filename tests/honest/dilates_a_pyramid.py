"""Passes: ten causal convolutions of two taps, 1 to 512 apart, reach 1024 tokens back."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DilatesAPyramid(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project_in = nn.Linear(dim, heads * dim)
        self.taps = nn.Parameter(0.7 * torch.randn(10, heads * dim, 1, 2))
        self.project_out = nn.Linear(heads * dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        y_BCT = self.project_in(x_BTD).transpose(1, 2)
        for level, taps_C12 in enumerate(self.taps.unbind()):
            past = F.pad(y_BCT, (2**level, 0))
            y_BCT = F.conv1d(past, taps_C12, dilation=2**level, groups=y_BCT.shape[1])
        y_BTD: Tensor = self.project_out(y_BCT.transpose(1, 2))
        return y_BTD
