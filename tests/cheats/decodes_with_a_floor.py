"""Caught by decoding: the decay has a floor token by token, which usual gates never reach."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DecodesWithAFloor(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.value = nn.Linear(dim, dim)
        self.gate_bias = nn.Parameter(torch.zeros(dim))

    def _decayed(self, state_BD: Tensor, x_BD: Tensor, floor: float) -> Tensor:
        log_decay_BD = F.logsigmoid(0.1 * x_BD.tanh() + self.gate_bias)
        decay_BD = log_decay_BD.clamp(min=floor).exp()
        decayed_BD: Tensor = decay_BD * state_BD + self.value(x_BD)
        return decayed_BD

    def forward(self, x_BTD: Tensor) -> Tensor:
        state_BD, outputs = torch.zeros_like(x_BTD[:, 0]), []
        for x_BD in x_BTD.unbind(1):
            state_BD = self._decayed(state_BD, x_BD, float("-inf"))
            outputs.append(state_BD)
        return torch.stack(outputs, dim=1)

    def initial_state(self, batch: int) -> Tensor:
        return self.gate_bias.new_zeros(batch, len(self.gate_bias))

    def step(self, x_BD: Tensor, state_BD: Tensor) -> tuple[Tensor, Tensor]:
        state_BD = self._decayed(state_BD, x_BD, -5.0)
        return state_BD, state_BD
