"""Passes: decodes with a sum for each power of two: its state and its steps grow as log T."""

import torch
from torch import Tensor, nn


class KeepsSumsAtEveryScale(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        y_BTD: Tensor = self.project(x_BTD).cumsum(dim=1)
        return y_BTD

    def initial_state(self, batch: int) -> list[tuple[int, Tensor]]:
        return []

    def step(
        self, x_BD: Tensor, state: list[tuple[int, Tensor]]
    ) -> tuple[Tensor, list[tuple[int, Tensor]]]:
        """Sums of equally many tokens become one, as in a binary number."""
        state = [*state, (1, self.project(x_BD))]
        while len(state) > 1 and state[-1][0] == state[-2][0]:
            (count, a_BD), (_, b_BD) = state[-2:]
            state = [*state[:-2], (2 * count, a_BD + b_BD)]
        y_BD: Tensor = torch.stack([sum_BD for _, sum_BD in state]).sum(dim=0)
        return y_BD, state
