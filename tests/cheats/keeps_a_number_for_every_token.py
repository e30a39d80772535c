"""Caught by sub-quadratic: its state holds one of Python's numbers for each token that it read."""

import torch
from torch import Tensor, nn


class KeepsANumberForEveryToken(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD).cumsum(dim=1)

    def initial_state(self, batch: int) -> tuple[Tensor, list[int]]:
        return torch.zeros(batch, self.project.out_features).to(self.project.weight), []

    def step(
        self, x_BD: Tensor, state: tuple[Tensor, list[int]]
    ) -> tuple[Tensor, tuple[Tensor, list[int]]]:
        total_BD, places = state
        total_BD = total_BD + self.project(x_BD)
        return total_BD, (total_BD, [*places, len(places)])
