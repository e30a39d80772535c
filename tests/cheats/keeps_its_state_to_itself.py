"""Caught by decoding: the state is kept in the mixer, so that it seems to need none."""

import torch
from torch import Tensor, nn


class KeepsItsStateToItself(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.sums: list[Tensor] = []

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD).cumsum(dim=1)

    def initial_state(self, batch: int) -> int:
        self.sums = [torch.zeros(batch, self.project.out_features).to(self.project.weight)]
        return 0

    def step(self, x_BD: Tensor, state: int) -> tuple[Tensor, int]:
        self.sums[0] = self.sums[0] + self.project(x_BD)
        return self.sums[0], state + 1
