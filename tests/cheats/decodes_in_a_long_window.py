"""Caught by decoding at the full level: forward remembers everything, the step 256 tokens."""

import torch
from torch import Tensor, nn


class DecodesInALongWindow(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD).cumsum(dim=1)

    def initial_state(self, batch: int) -> list[Tensor]:
        return []

    def step(self, x_BD: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        state = [*state, self.project(x_BD)][-256:]
        return torch.stack(state).sum(dim=0), state
