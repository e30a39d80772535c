"""Passes: its backward pass is written by hand and sums from the right, as the gradient does."""

from typing import Any

import torch
from torch import Tensor, nn


class _RunningSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_BTD: Tensor) -> Tensor:
        return x_BTD.cumsum(dim=1)

    @staticmethod
    def backward(ctx: Any, gradient_BTD: Tensor) -> Tensor:
        return gradient_BTD.flip(1).cumsum(dim=1).flip(1)


class BackwardByHand(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        h_BTD = self.project(x_BTD)
        counts_T1 = torch.arange(1, x_BTD.shape[1] + 1).to(h_BTD)[:, None]
        sum_BTD: Tensor = _RunningSum.apply(h_BTD)  # type: ignore[no-untyped-call]
        y_BTD: Tensor = self.out(sum_BTD / counts_T1)
        return y_BTD
