"""Caught by restorable: a random buffer that the state dict leaves out."""

import torch
from torch import Tensor, nn


class DoesNotSaveItsRandomProjection(nn.Module):
    mix_DD: Tensor

    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.register_buffer("mix_DD", torch.randn(dim, dim) * dim**-0.5, persistent=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        y_BTD = self.project(x_BTD)
        return y_BTD @ self.mix_DD.to(y_BTD)
