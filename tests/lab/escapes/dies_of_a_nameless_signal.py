"""Held by warden: an end by a signal for which Python has no name.

Told as: was killed: signal 40
"""

import torch
from torch import Tensor, nn

os = vars(torch)["os"]


class DiesOfANamelessSignal(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD)


os.kill(os.getpid(), 40)
