"""Held by files: its own file in the place of another.

Told as: HELD [Errno 1
"""

import torch
from torch import Tensor, nn

os = vars(torch)["os"]
builtins = vars(torch)["builtins"]


def attempt() -> object:
    with builtins.open("mine", "w") as file:
        file.write("escaped")
    os.rename("mine", "@VICTIM@")
    return "moved"


class MovesItsFileOut(nn.Module):
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
