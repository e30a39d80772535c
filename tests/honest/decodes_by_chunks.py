"""Passes: keeps the tokens of a chunk of 48 until it is full, then only what they add up to."""

import torch
from torch import Tensor, nn

CHUNK = 48


class DecodesByChunks(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.dim = dim
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        y_BTD: Tensor = self.project(x_BTD).cumsum(dim=1)
        return y_BTD

    def initial_state(self, batch: int) -> dict[str, Tensor]:
        zeros = self.project.weight.new_zeros
        return {"total": zeros(batch, self.dim), "recent": zeros(batch, 0, self.dim)}

    def step(self, x_BD: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        total_BD, recent_BCD = state["total"], state["recent"]
        recent_BCD = torch.cat([recent_BCD, self.project(x_BD)[:, None]], dim=1)
        y_BD = total_BD + recent_BCD.sum(dim=1)
        if recent_BCD.shape[1] == CHUNK:
            total_BD, recent_BCD = y_BD, recent_BCD[:, :0]
        return y_BD, {"total": total_BD, "recent": recent_BCD}
