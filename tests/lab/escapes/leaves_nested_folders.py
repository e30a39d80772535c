"""Held by warden: folders that are nested too deep to be removed.

Told as: HELD | wrote more than
"""

import torch
from torch import Tensor, nn

os = vars(torch)["importlib"].import_module("os")


class LeavesNestedFolders(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD)


for _ in range(3_000):
    os.mkdir("x")
    os.chdir("x")
raise RuntimeError("HELD if nothing of it stays")
