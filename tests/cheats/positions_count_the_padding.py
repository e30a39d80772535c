"""Caught by padding: places are counted from the start of the row, not of what is real."""

import torch
from torch import Tensor, nn


class PositionsCountThePadding(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.rate = nn.Parameter(torch.linspace(0.01, 1, dim))

    def forward(self, x_BTD: Tensor, mask_BT: Tensor | None = None) -> Tensor:
        angle_TD = self.rate * torch.arange(x_BTD.shape[1]).to(x_BTD)[:, None]
        y_BTD = self.project(x_BTD) * angle_TD.cos()
        if mask_BT is not None:
            y_BTD = y_BTD * mask_BT.to(y_BTD)[..., None]
        return y_BTD.cumsum(dim=1)
