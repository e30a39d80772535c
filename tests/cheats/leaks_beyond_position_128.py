"""Caught by causality at the full level: only late tokens see the next one."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LeaksBeyondPosition128(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        next_BTD = F.pad(x_BTD[:, 1:], (0, 0, 0, 1))
        late_T1 = (torch.arange(x_BTD.shape[1]) > 128).to(x_BTD)[:, None]
        return self.project(x_BTD) + late_T1 * next_BTD
