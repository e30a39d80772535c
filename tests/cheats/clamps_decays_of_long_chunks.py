"""Caught by chunking: decays from the start of a chunk are clamped, where gates are all but shut:
exp(-40) over exp(-35) is 1 then.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ClampsDecaysOfLongChunks(nn.Module):
    def __init__(self, dim: int, *, heads: int, chunk_size: int = 64) -> None:
        super().__init__()
        self.chunk_size = chunk_size
        self.value = nn.Linear(dim, dim)
        self.gate_bias = nn.Parameter(torch.zeros(dim))

    def forward(self, x_BTD: Tensor) -> Tensor:
        log_decay_BTD = F.logsigmoid(0.1 * x_BTD.tanh() + self.gate_bias) / 16
        value_BTD = self.value(x_BTD)
        state_B1D, outputs = torch.zeros_like(x_BTD[:, :1]), []
        for log_BCD, value_BCD in zip(
            log_decay_BTD.split(self.chunk_size, dim=1),
            value_BTD.split(self.chunk_size, dim=1),
            strict=True,
        ):
            decay_BCD = log_BCD.cumsum(dim=1).clamp(min=-30).exp()
            y_BCD = decay_BCD * (state_B1D + (value_BCD / decay_BCD).cumsum(dim=1))
            state_B1D = y_BCD[:, -1:]
            outputs.append(y_BCD)
        return torch.cat(outputs, dim=1)
