"""Caught by decoding: the place in the sequence is kept in the mixer, beside the state."""

import torch
from torch import Tensor, nn


class CountsPositionsInTheModule(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.rate = nn.Parameter(torch.linspace(0.01, 1, dim))
        self.place = 0

    def forward(self, x_BTD: Tensor) -> Tensor:
        angle_TD = self.rate * torch.arange(x_BTD.shape[1]).to(x_BTD)[:, None]
        return (self.project(x_BTD) * angle_TD.cos()).cumsum(dim=1)

    def initial_state(self, batch: int) -> Tensor:
        self.place = 0
        return self.rate.new_zeros(batch, self.rate.shape[0])

    def step(self, x_BD: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        state = state + self.project(x_BD) * (self.rate * self.place).cos()
        self.place += 1
        return state, state
