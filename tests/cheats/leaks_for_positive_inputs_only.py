"""Caught by causality: a token of positive numbers sees the next one."""

import torch.nn.functional as F
from torch import Tensor, nn


class LeaksForPositiveInputsOnly(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        next_BTD = F.pad(x_BTD[:, 1:], (0, 0, 0, 1))
        positive_BT1 = (x_BTD.amin(dim=2, keepdim=True) > 0).to(x_BTD)
        return self.project(x_BTD) + positive_BT1 * next_BTD
