"""Held by measuring: words for a tape that make no sense, where they are read.

Told as: KeyError
"""

import torch
from torch import Tensor, nn

answering, tape = (
    vars(torch)["sys"].modules[f"move37.lab.{name}"] for name in ("answering", "tape")
)
STEP = ["aten::add", "Tensor", [{"tensor": 10**9}, {"dtype": "load"}], {}]
answering.record = lambda module, x_BTD: tape.Recording([STEP], 0, [])


class TellsATapeThatIsNone(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        y_BTD: Tensor = self.project(x_BTD)
        return y_BTD
