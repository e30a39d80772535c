"""Held by measuring: a tape that would fill the memory of the one who reads it.

Told as: holds too many numbers
"""

import torch
from torch import Tensor, nn

answering = vars(torch)["sys"].modules["move37.lab.answering"]
answering.Answers._record = lambda self, asked: (
    {"words": 0, "output": 0, "constants": [["float32", 2**40]]},
    [],
)


class SaysThatItsTapeIsHuge(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        y_BTD: Tensor = self.project(x_BTD)
        return y_BTD
