"""Caught by sub-quadratic: all pairs of tokens, in the backward pass of the input only."""

from typing import Any

import torch
from torch import Tensor, nn


class _F(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clone()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        pairs = x @ x.transpose(1, 2)  # T x T, only for the gradient of the input
        return g + 0 * pairs.sum()


class QuadraticInTheBackwardOfItsInput(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(_F.apply(x))  # type: ignore[no-untyped-call]
