"""Caught by sub-quadratic: the gradient is averaged over as many copies as there are tokens."""

from typing import Any

import torch
from torch import Tensor, nn


class _Costly(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_BTD: Tensor) -> Tensor:
        return x_BTD.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        copies_BSTD = gradients[0][:, None].expand(-1, gradients[0].shape[1], -1, -1)
        return copies_BSTD.mean(dim=1)


class QuadraticInTheBackwardPass(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return _Costly.apply(self.project(x_BTD))  # type: ignore[no-untyped-call]
