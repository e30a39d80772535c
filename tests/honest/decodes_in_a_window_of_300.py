"""Passes: the mean of the last 300 tokens; its state grows until they are there."""

import torch
from torch import Tensor, nn

WINDOW = 300


class DecodesInAWindowOf300(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.dim = dim
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        sums_BTD = self.project(x_BTD).cumsum(dim=1)
        old_BTD = torch.cat([torch.zeros_like(sums_BTD[:, :WINDOW]), sums_BTD[:, :-WINDOW]], dim=1)
        return (sums_BTD - old_BTD[:, : sums_BTD.shape[1]]) / WINDOW

    def initial_state(self, batch: int) -> Tensor:
        return self.project.weight.new_zeros(batch, 0, self.dim)

    def step(self, x_BD: Tensor, state_BWD: Tensor) -> tuple[Tensor, Tensor]:
        state_BWD = torch.cat([state_BWD, self.project(x_BD)[:, None]], dim=1)[:, -WINDOW:]
        return state_BWD.sum(dim=1) / WINDOW, state_BWD
