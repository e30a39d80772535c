"""Passes: a floor of the gate is learned, and acts only where the gate is all but shut."""

import torch
from torch import Tensor, nn


class FloorsItsGate(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, 2 * dim)
        self.floor = nn.Parameter(torch.full((dim,), 1e-3))

    def forward(self, x_BTD: Tensor) -> Tensor:
        value_BTD, gate_BTD = self.project(x_BTD).chunk(2, dim=-1)
        return value_BTD * torch.maximum(gate_BTD.sigmoid(), self.floor.to(gate_BTD.dtype))
