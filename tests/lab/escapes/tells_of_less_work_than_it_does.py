"""Held by measuring: a tape on which nothing is done, told in the place of the true one.

Told as: its work cannot be counted
"""

import torch
from torch import Tensor, nn

answering, tape = (
    vars(torch)["sys"].modules[f"move37.lab.{name}"] for name in ("answering", "tape")
)
answering.record = lambda module, x_BTD: tape.Recording([], 0, [])


class TellsOfLessWorkThanItDoes(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        y_BTD: Tensor = (x_BTD @ x_BTD.mT).tril() @ self.project(x_BTD)
        return y_BTD
