"""Caught by repeatable: the input is scaled in place, for whoever else reads it."""

import torch
from torch import Tensor, nn


class ChangesItsInput(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.decay = nn.Parameter(torch.zeros(dim))

    def forward(self, x_BTD: Tensor) -> Tensor:
        x_BTD *= 0.5
        y_BTD = self.project(x_BTD)
        tokens_T1 = torch.arange(1, x_BTD.shape[1] + 1, device=x_BTD.device)[:, None]
        return y_BTD + self.decay * x_BTD.cumsum(dim=1) / tokens_T1.to(x_BTD.dtype)
