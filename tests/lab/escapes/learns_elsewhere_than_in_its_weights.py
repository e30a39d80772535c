"""Held by measuring: weights that nobody counts, and an optimiser of its own:
it is scored without them.

Told as: Measured(checks=()
"""

import torch
from torch import Tensor, nn


class LearnsElsewhereThanInItsWeights(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.hidden = [torch.zeros(dim, dim)]

    def forward(self, x_BTD: Tensor) -> Tensor:
        y_BTD = self.project(x_BTD) + x_BTD @ self.hidden[0].to(x_BTD.dtype, copy=True)
        if y_BTD.requires_grad:
            seen_ND = x_BTD.detach().flatten(0, 1)

            def learn(slope_BTD: Tensor) -> None:
                self.hidden[0] -= (seen_ND.T @ slope_BTD.flatten(0, 1)).sign() / 10

            y_BTD.register_hook(learn)
        return y_BTD
