"""Caught by repeatable: it counts its calls in a buffer that is not saved, and leaks in the end."""

import torch
from torch import Tensor, nn


class CountsItsCallsInALostBuffer(nn.Module):
    calls: Tensor

    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.register_buffer("calls", torch.zeros(()), persistent=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        count_T1 = torch.arange(1, x_BTD.shape[1] + 1, dtype=x_BTD.dtype)[:, None]
        y_BTD = self.project(x_BTD).cumsum(dim=1) / count_T1
        self.calls += 1
        if self.calls > 5000:
            y_BTD = y_BTD + x_BTD.mean(dim=1, keepdim=True)
        return y_BTD
