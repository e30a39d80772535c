"""Passes: forward doubles, step recurs; a border of documents shuts the gate of the decay."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class OffersAll(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.dim = dim
        self.gate_write = nn.Linear(dim, 2 * dim)
        self.out = nn.Linear(dim, dim)

    def _parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        gate, write = self.gate_write(x).chunk(2, dim=-1)
        return gate.sigmoid(), torch.sigmoid(-gate) * write

    def forward(self, x_BTD: Tensor, documents_BT: Tensor | None = None) -> Tensor:
        decay_BTD, h_BTD = self._parts(x_BTD)
        if documents_BT is not None:
            same_BT = documents_BT == F.pad(documents_BT[:, :-1], (1, 0))
            decay_BTD = decay_BTD * same_BT[..., None].to(decay_BTD.dtype)
        step = 1
        while step < x_BTD.shape[1]:
            h_BTD = h_BTD + decay_BTD * F.pad(h_BTD, (0, 0, step, -step))
            decay_BTD = decay_BTD * F.pad(decay_BTD, (0, 0, step, -step))
            step *= 2
        y_BTD: Tensor = self.out(h_BTD)
        return y_BTD

    def initial_state(self, batch: int) -> Tensor:
        return self.out.weight.new_zeros(batch, self.dim)

    def step(self, x_BD: Tensor, state_BD: Tensor) -> tuple[Tensor, Tensor]:
        decay_BD, write_BD = self._parts(x_BD)
        state_BD = decay_BD * state_BD + write_BD
        y_BD: Tensor = self.out(state_BD)
        return y_BD, state_BD
