"""Held by warden: a loop that no signal ends that can be ignored.

Told as: time limit
"""

import torch
from torch import Tensor, nn

signal = vars(torch)["importlib"].import_module("signal")


class IsDeafToSignals(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD)


for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
    signal.signal(number, signal.SIG_IGN)
while True:
    pass
