"""Caught by documents: packed, the decay has a floor, which usual gates never reach."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PacksDocumentsWithAFloor(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.value = nn.Linear(dim, dim)
        self.gate_bias = nn.Parameter(torch.zeros(dim))

    def forward(self, x_BTD: Tensor, documents_BT: Tensor | None = None) -> Tensor:
        log_decay_BTD = F.logsigmoid(0.1 * x_BTD.tanh() + self.gate_bias)
        starts_BT = torch.zeros_like(x_BTD[..., 0], dtype=torch.bool)
        if documents_BT is not None:
            log_decay_BTD = log_decay_BTD.clamp(min=-5.0)
            starts_BT[:, 1:] = documents_BT[:, 1:] != documents_BT[:, :-1]
        decay_BTD = log_decay_BTD.exp().masked_fill(starts_BT[..., None], 0)
        state_BD, outputs = torch.zeros_like(x_BTD[:, 0]), []
        for decay_BD, value_BD in zip(
            decay_BTD.unbind(1), self.value(x_BTD).unbind(1), strict=True
        ):
            state_BD = decay_BD * state_BD + value_BD
            outputs.append(state_BD)
        return torch.stack(outputs, dim=1)
