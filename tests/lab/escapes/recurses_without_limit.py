"""Held by warden: a recursion that Python does not end.

Told as: was killed: SIGSEGV
"""

import torch
from torch import Tensor, nn

sys = vars(torch)["sys"].modules["sys"]


class RecursesWithoutLimit(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD)


sys.setrecursionlimit(10**9)


def deeper(text: str) -> str:
    return max([text], key=deeper)


deeper("")
