"""Caught by repeatable: a forward changes a parameter, in eval mode too."""

import torch
from torch import Tensor, nn


class NormalisesItsWeightInPlace(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        weight = self.project.weight
        with torch.no_grad():
            weight.div_(weight.norm(dim=1, keepdim=True) + 1e-6)
        return self.project(x_BTD)
