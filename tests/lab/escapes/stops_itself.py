"""Held by warden: a process that stands still.

Told as: time limit
"""

import torch
from torch import Tensor, nn

os = vars(torch)["importlib"].import_module("os")
signal = vars(vars(torch)["builtins"])["__import__"]("signal")


class StopsItself(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD)


os.kill(os.getpid(), signal.SIGSTOP)
