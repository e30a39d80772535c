"""Caught by repeatable: used while gradients are recorded, it ends that for everyone."""

import torch
from torch import Tensor, nn


class TurnsGradientsOffInEvalMode(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        count_T1 = torch.arange(1, x_BTD.shape[1] + 1, dtype=x_BTD.dtype)[:, None]
        y_BTD = self.project(x_BTD).cumsum(dim=1) / count_T1
        if not self.training and torch.is_grad_enabled():
            torch.set_grad_enabled(False)
        return y_BTD
