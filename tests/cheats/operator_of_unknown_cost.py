"""Caught by sub-quadratic: an orthogonal matrix by QR, whose work is not counted."""

import torch
from torch import Tensor, nn


class OperatorOfUnknownCost(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.mix_DD = nn.Parameter(torch.randn(dim, dim))

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD) @ torch.linalg.qr(self.mix_DD).Q
