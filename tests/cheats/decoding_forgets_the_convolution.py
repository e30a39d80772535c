"""Caught by decoding: the state holds the sum, but not the token before."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DecodingForgetsTheConvolution(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.before = nn.Parameter(torch.full((dim,), 0.5))

    def forward(self, x_BTD: Tensor) -> Tensor:
        y_BTD = self.project(x_BTD)
        return (y_BTD + self.before * F.pad(y_BTD, (0, 0, 1, 0))[:, :-1]).cumsum(dim=1)

    def initial_state(self, batch: int) -> Tensor:
        return self.before.new_zeros(batch, self.before.shape[0])

    def step(self, x_BD: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        state = state + self.project(x_BD)
        return state, state
