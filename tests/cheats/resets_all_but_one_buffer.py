"""Caught by builds: on the way from the meta device one buffer stays uninitialised."""

import torch
from torch import Tensor, nn


class ResetsAllButOneBuffer(nn.Module):
    slopes_D: Tensor

    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.register_buffer("slopes_D", torch.linspace(0.5, 1, dim), persistent=False)

    def reset_parameters(self) -> None:
        self.project.reset_parameters()

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD) * self.slopes_D
