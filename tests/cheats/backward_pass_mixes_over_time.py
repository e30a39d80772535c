"""Caught by causality: a function of its own passes values on and turns gradients round."""

from typing import Any

import torch
from torch import Tensor, nn


class _Turned(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_BTD: Tensor) -> Tensor:
        return x_BTD.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0] + 0.1 * gradients[0].flip(1)


class BackwardPassMixesOverTime(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return _Turned.apply(self.project(x_BTD))  # type: ignore[no-untyped-call]
