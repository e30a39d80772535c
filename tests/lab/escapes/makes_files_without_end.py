"""Held by warden: a file system without a number for another file.

Told as: time limit | wrote more than
"""

import torch
from torch import Tensor, nn

itertools = vars(torch)["sys"].modules["itertools"]
builtins = vars(torch)["builtins"]


class MakesFilesWithoutEnd(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD)


for number in itertools.count():
    with builtins.open(str(number), "w"):
        pass
