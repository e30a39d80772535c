"""Held by measuring: a tape that holds what came out, and not how.

Told as: its work cannot be counted
"""

import torch
from torch import Tensor, nn

answering, tape = (
    vars(torch)["sys"].modules[f"move37.lab.{name}"] for name in ("answering", "tape")
)


def record(module: nn.Module, x_BTD: Tensor) -> object:
    with torch.no_grad():
        y_BTD = module(x_BTD)
    return tape.Recording([None], 1 + len(list(module.parameters())), [y_BTD])


answering.record = record


class TellsItsAnswerForItsWork(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        y_BTD: Tensor = (x_BTD @ x_BTD.mT).tril() @ self.project(x_BTD)
        return y_BTD
