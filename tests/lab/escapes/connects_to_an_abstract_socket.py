"""Held by calls: a connection to a Unix socket that has a name and no path."""

import torch
from torch import Tensor, nn

socket = vars(torch)["importlib"].import_module("socket")


def attempt() -> object:
    socket.socket(socket.AF_UNIX).connect("\0@ABSTRACT@")
    return "connected"


class ConnectsToAnAbstractSocket(nn.Module):
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
