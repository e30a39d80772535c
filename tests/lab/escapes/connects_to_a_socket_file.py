"""Held by calls: a connection to a Unix socket that has a path."""

import torch
from torch import Tensor, nn

socket = vars(torch)["sys"].modules["socket"]


def attempt() -> object:
    socket.socket(socket.AF_UNIX).connect("@SOCKET@")
    return "connected"


class ConnectsToASocketFile(nn.Module):
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
