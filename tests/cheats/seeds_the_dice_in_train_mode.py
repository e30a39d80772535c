"""Caught by repeatable: it sets the dice of everyone to a place that it knows, when trained."""

import torch
from torch import Tensor, nn


class SeedsTheDiceInTrainMode(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        count_T1 = torch.arange(1, x_BTD.shape[1] + 1, dtype=x_BTD.dtype)[:, None]
        y_BTD = self.project(x_BTD).cumsum(dim=1) / count_T1
        if self.training:
            torch.manual_seed(0)
        return y_BTD
