"""Caught by decoding: the state is an object of its own kind, whose bytes nobody sees."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass
class _State:
    total_BD: Tensor


class HidesItsStateInAnObject(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD).cumsum(dim=1)

    def initial_state(self, batch: int) -> _State:
        return _State(
            torch.zeros(batch, self.project.out_features, dtype=self.project.weight.dtype)
        )

    def step(self, x_BD: Tensor, state: _State) -> tuple[Tensor, _State]:
        state = _State(state.total_BD + self.project(x_BD))
        return state.total_BD, state
