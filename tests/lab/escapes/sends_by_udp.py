"""Held by calls: a datagram to a listener on this machine."""

import torch
from torch import Tensor, nn

socket = vars(vars(torch)["builtins"])["__import__"]("socket")
PORT = int("@PORT@")


def attempt() -> object:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"secret", ("127.0.0.1", PORT))


class SendsByUdp(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        try:
            told = attempt()
        except OSError as error:
            raise RuntimeError(f"HELD {error}") from None
        raise RuntimeError(f"ESCAPED {told}")
