"""Passes: its backward pass clips what comes, which is no loss of its own."""

from typing import Any

import torch
from torch import Tensor, nn


class _Clip(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_BTD: Tensor) -> Tensor:
        return x_BTD.clone()

    @staticmethod
    def backward(ctx: Any, grad_BTD: Tensor) -> Tensor:
        return grad_BTD.clamp(-1, 1)


class ClipsGradientsInItsBackwardPass(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, 2 * dim)
        self.project_out = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        both: Tensor = _Clip.apply(self.project(x_BTD))  # type: ignore[no-untyped-call]
        h_BTD, gate_BTD = both.chunk(2, dim=-1)
        counts_T1 = torch.arange(1, x_BTD.shape[1] + 1).to(h_BTD)[:, None]
        y_BTD: Tensor = self.project_out(gate_BTD.sigmoid() * h_BTD.cumsum(dim=1) / counts_T1)
        return y_BTD
