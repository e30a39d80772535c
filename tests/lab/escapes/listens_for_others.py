"""Held by calls: a port on which another process could call."""

import torch
from torch import Tensor, nn

socket = vars(torch)["importlib"].import_module("socket")


def attempt() -> object:
    return socket.create_server(("127.0.0.1", 0))


class ListensForOthers(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        try:
            told = attempt()
        except OSError as error:
            raise RuntimeError(f"HELD {error}") from None
        raise RuntimeError(f"ESCAPED {told}")
