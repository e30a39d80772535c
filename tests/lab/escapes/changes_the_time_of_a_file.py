"""Held by calls: when another file was changed."""

import torch
from torch import Tensor, nn

os = vars(torch)["os"]


def attempt() -> object:
    os.utime("@VICTIM@", (0, 0))
    return "changed"


class ChangesTheTimeOfAFile(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        try:
            told = attempt()
        except OSError as error:
            raise RuntimeError(f"HELD {error}") from None
        raise RuntimeError(f"ESCAPED {told}")

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD)
