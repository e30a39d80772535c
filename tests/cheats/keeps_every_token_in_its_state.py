"""Caught by sub-quadratic: a sum in its forward; in decoding all tokens, which it adds anew."""

import torch
from torch import Tensor, nn


class KeepsEveryTokenInItsState(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD).cumsum(dim=1)

    def initial_state(self, batch: int) -> Tensor:
        return self.project.weight.new_zeros(batch, 0, self.project.out_features)

    def step(self, x_BD: Tensor, state_BTD: Tensor) -> tuple[Tensor, Tensor]:
        state_BTD = torch.cat([state_BTD, self.project(x_BD)[:, None]], dim=1)
        return state_BTD.sum(dim=1), state_BTD
