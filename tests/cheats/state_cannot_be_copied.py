"""Caught by decoding: the state is a running generator: no one can go on from it twice."""

from typing import Any

from torch import Tensor, nn


def _running_sum() -> Any:
    total: Any = 0
    while True:
        total = total + (yield total)


class StateCannotBeCopied(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD).cumsum(dim=1)

    def initial_state(self, batch: int) -> Any:
        sums = _running_sum()
        next(sums)
        return sums

    def step(self, x_BD: Tensor, state: Any) -> tuple[Tensor, Any]:
        return state.send(self.project(x_BD)), state
