"""Held by files: the length of another file."""

import torch
from torch import Tensor, nn

os = vars(torch)["importlib"].import_module("os")


def attempt() -> object:
    os.truncate("@VICTIM@", 0)
    return "truncated"


class TruncatesAFile(nn.Module):
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
