"""Held by files: another file in its own folder, where it may be read.

Told as: HELD [Errno 1
"""

import torch
from torch import Tensor, nn

os = vars(torch)["importlib"].import_module("os")


def attempt() -> object:
    os.rename("@SECRET@", "mine")
    return "moved"


class MovesAFileIn(nn.Module):
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
