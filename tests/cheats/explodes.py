"""Caught by finite: a recurrence that doubles its state at every token."""

import torch
from torch import Tensor, nn


class Explodes(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        growth_T1 = 2.0 ** torch.arange(x_BTD.shape[1]).to(x_BTD)[:, None]
        return (self.project(x_BTD) / growth_T1).cumsum(dim=1) * growth_T1
