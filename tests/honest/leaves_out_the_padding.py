"""Passes: takes a mask; padding, left or right, neither counts nor adds to the mean."""

import torch
from torch import Tensor, nn


class LeavesOutThePadding(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor, mask_BT: Tensor | None = None) -> Tensor:
        h_BTD = self.project(x_BTD)
        if mask_BT is None:
            mask_BT = torch.ones_like(h_BTD[..., 0], dtype=torch.bool)
        real_BT1 = mask_BT.to(h_BTD.dtype)[..., None]
        counts_BT1 = real_BT1.cumsum(dim=1).clamp(min=1)
        y_BTD: Tensor = self.out((real_BT1 * h_BTD).cumsum(dim=1) / counts_BT1)
        return y_BTD
