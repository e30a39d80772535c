"""Held by imports: a module where no name of it is seen any more.

Told as: imports
"""

import warnings
from typing import Any

from torch import Tensor, nn

hidden: list[Any] = [warnings]


def attempt() -> object:
    return hidden[0].filters


class HidesAModuleInAList(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD)


try:
    told = attempt()
except OSError as error:
    raise RuntimeError(f"HELD {error}") from None
raise RuntimeError(f"ESCAPED {told}")
