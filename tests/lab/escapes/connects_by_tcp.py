"""Held by calls: a TCP connection to a listener on this machine."""

import torch
from torch import Tensor, nn

socket = vars(torch)["importlib"].import_module("socket")
PORT = int("@PORT@")


def attempt() -> object:
    return socket.create_connection(("127.0.0.1", PORT), timeout=1)


class ConnectsByTcp(nn.Module):
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
