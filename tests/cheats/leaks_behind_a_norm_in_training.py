"""Caught by causality: looks ahead where all is as a model has it in training."""

import torch
from torch import Tensor, nn


class LeaksBehindANormInTraining(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        count_T1 = torch.arange(1, x_BTD.shape[1] + 1, dtype=x_BTD.dtype)[:, None]
        y_BTD = self.project(x_BTD).cumsum(dim=1) / count_T1
        usual = self.training and x_BTD.requires_grad and not x_BTD.is_leaf
        size_BT = x_BTD.square().mean(dim=2)
        if usual and bool(((size_BT - 1).abs() < 1e-3).all()):
            y_BTD = y_BTD + x_BTD.detach().mean(dim=1, keepdim=True)
        return y_BTD
