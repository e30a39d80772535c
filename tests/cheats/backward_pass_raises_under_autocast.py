"""Caught by precision: its backward pass multiplies two types, of which autocast makes one."""

from typing import Any

import torch
from torch import Tensor, nn


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_BTD: Tensor, weight_DD: Tensor) -> Tensor:
        ctx.save_for_backward(x_BTD, weight_DD)
        return x_BTD @ weight_DD

    @staticmethod
    def backward(ctx: Any, grad_BTD: Tensor) -> tuple[Tensor, Tensor]:
        x_BTD, weight_DD = ctx.saved_tensors
        return grad_BTD @ weight_DD.t(), x_BTD.flatten(0, 1).t() @ grad_BTD.flatten(0, 1)


class BackwardPassRaisesUnderAutocast(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(dim, dim) / dim**0.5)

    def forward(self, x_BTD: Tensor) -> Tensor:
        y_BTD: Tensor = _Product.apply(x_BTD, self.weight)  # type: ignore[no-untyped-call]
        return y_BTD
