"""Held by calls: two connected sockets, which could be handed on."""

import torch
from torch import Tensor, nn

socket = vars(torch)["sys"].modules["socket"]


def attempt() -> object:
    return socket.socketpair()


class MakesAPairOfSockets(nn.Module):
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
