"""Held by measuring: an operator that would be run outside of the sandbox, and reads a file there.

Told as: the cost of from_file is not known
"""

import torch
from torch import Tensor, nn

answering, tape = (
    vars(torch)["sys"].modules[f"move37.lab.{name}"] for name in ("answering", "tape")
)
STEP = ["aten::from_file", "", ["/etc/passwd", False, 8], {}]
answering.record = lambda module, x_BTD: tape.Recording([STEP], 0, [])


class TellsOfAnOperatorThatReadsFiles(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        y_BTD: Tensor = self.project(x_BTD)
        return y_BTD
