"""Caught by gradients: a loss that nobody sees adds its gradient while the output's passes."""

from typing import Any

import torch
from torch import Tensor, nn


class _AddLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y_BTD: Tensor, loss: Tensor) -> Tensor:
        ctx.save_for_backward(loss)
        return y_BTD.clone()

    @staticmethod
    def backward(ctx: Any, grad_BTD: Tensor) -> tuple[Tensor, Tensor]:
        (loss,) = ctx.saved_tensors
        return grad_BTD, torch.ones_like(loss)


class AddsALossInTheBackwardPass(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        y_BTD = self.project(x_BTD)
        if self.training:
            loss = 0.1 * self.project.weight.square().sum()
            y_BTD = _AddLoss.apply(y_BTD, loss)  # type: ignore[no-untyped-call]
        return y_BTD
