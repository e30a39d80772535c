"""Caught by decoding: what is older than a chunk is kept in the mixer, not in the state."""

from typing import Any

import torch
from torch import Tensor, nn

CHUNK = 32


class KeepsOlderChunksToItself(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.older: list[Tensor] = []

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD).cumsum(dim=1)

    def initial_state(self, batch: int) -> dict[str, Any]:
        zero = torch.zeros(batch, self.project.out_features).to(self.project.weight)
        self.older = [zero]
        return {"place": 0, "sum": zero}

    def step(self, x_BD: Tensor, state: dict[str, Any]) -> tuple[Tensor, dict[str, Any]]:
        place, total = state["place"], state["sum"]
        if place and place % CHUNK == 0:
            self.older[0] = self.older[0] + total
            total = torch.zeros_like(total)
        total = total + self.project(x_BD)
        return total + self.older[0], {"place": place + 1, "sum": total}
