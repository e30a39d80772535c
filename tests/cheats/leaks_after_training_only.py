"""Caught by causality: the leak opens once the weights have moved by a little."""

import torch
from torch import Tensor, nn


class LeaksAfterTrainingOnly(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.steps = nn.Parameter(torch.zeros(dim))
        with torch.no_grad():
            self.project.weight.normal_(std=dim**-0.5)

    def forward(self, x_BTD: Tensor) -> Tensor:
        # Random parameters of the verifier are far from one another; trained ones stay near zero.
        trained = (self.steps.abs().sum() > 0) & (self.steps.abs().max() < 0.04)
        return self.project(x_BTD) + self.steps + trained * x_BTD.roll(-1, dims=1)
