"""Passes: a gated recurrence in log2 T rounds of shifted products, without a loop over T."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ScansByDoubling(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.gate = nn.Linear(dim, dim)
        self.write = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        decay_BTD = self.gate(x_BTD).sigmoid()
        h_BTD: Tensor = torch.sigmoid(-self.gate(x_BTD)) * self.write(x_BTD)
        T, step = x_BTD.shape[1], 1
        while step < T:
            earlier = (0, 0, step, -step)
            h_BTD = h_BTD + decay_BTD * F.pad(h_BTD, earlier)
            decay_BTD = decay_BTD * F.pad(decay_BTD, earlier)
            step *= 2
        return h_BTD
