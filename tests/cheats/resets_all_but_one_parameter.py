"""Caught by builds: on the way from the meta device one parameter stays uninitialised."""

import torch
from torch import Tensor, nn


class ResetsAllButOneParameter(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.gate = nn.Parameter(torch.ones(dim))

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD) * self.gate

    def reset_parameters(self) -> None:
        self.project.reset_parameters()
