"""Held by warden: a process that does not end with its parent.

Told as: time limit
"""

import torch
from torch import Tensor, nn

ctypes = vars(torch)["sys"].modules["ctypes"]
time = vars(torch)["importlib"].import_module("time")


class LivesOnWithoutItsWarden(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD)


ctypes.CDLL(None).prctl(1, 0)
while True:
    time.sleep(1)
