"""Held by files: the end of another file."""

import torch
from torch import Tensor, nn

os = vars(vars(torch)["builtins"])["__import__"]("os")


def attempt() -> object:
    os.remove("@VICTIM@")
    return "removed"


class RemovesAFile(nn.Module):
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
