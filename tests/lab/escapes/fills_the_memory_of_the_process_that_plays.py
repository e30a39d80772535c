"""Held by measuring: a tape that asks for memory without end, where it is played.

Told as: its work cannot be counted
"""

import torch
from torch import Tensor, nn

answering, tape = (
    vars(torch)["sys"].modules[f"move37.lab.{name}"] for name in ("answering", "tape")
)
STEPS = [["aten::full", "", [[1 << 26], float(number)], {}] for number in range(100)]
answering.record = lambda module, x_BTD: tape.Recording(STEPS, 0, [])


class FillsTheMemoryOfTheProcessThatPlays(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD)
