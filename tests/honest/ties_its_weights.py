"""Passes: one matrix goes in and, turned over, out: a parameter with two names."""

import torch
from torch import Tensor, nn

from move37.nn import ops


class TiesItsWeights(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        inner = heads * max(1, dim // heads)
        self.project_in = nn.Linear(dim, inner, bias=False)
        self.project_gate = nn.Linear(dim, inner, bias=False)
        self.project_gate.weight = self.project_in.weight
        self.recent = nn.Parameter(torch.randn(inner, 4) / 2)

    def forward(self, x_BTD: Tensor, documents_BT: Tensor | None = None) -> Tensor:
        v_BTD = ops.short_convolution(self.project_in(x_BTD), self.recent, documents_BT)
        gated_BTD = v_BTD * self.project_gate(x_BTD).sigmoid()
        y_BTD: Tensor = gated_BTD @ self.project_in.weight.to(gated_BTD.dtype)
        return y_BTD
