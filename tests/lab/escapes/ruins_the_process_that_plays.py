"""Held by measuring: a tape that writes far beyond the memory of its input, where it is played.

Told as: was killed: SIGSEGV
"""

import torch
from torch import Tensor, nn

answering, tape = (
    vars(torch)["sys"].modules[f"move37.lab.{name}"] for name in ("answering", "tape")
)
STEPS = [
    ["aten::_reshape_alias", "", [{"tensor": 0}, [1 << 40], [1]], {}],
    ["aten::zero_", "", [{"tensor": 3}], {}],
]
answering.record = lambda module, x_BTD: tape.Recording(STEPS, 0, [])


class RuinsTheProcessThatPlays(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD)
