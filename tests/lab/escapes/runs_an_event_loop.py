"""Held by calls: a connection from asyncio's loop."""

import torch
from torch import Tensor, nn

asyncio = vars(torch)["importlib"].import_module("asyncio")
PORT = int("@PORT@")


def attempt() -> object:
    return asyncio.run(asyncio.open_connection("127.0.0.1", PORT))


class RunsAnEventLoop(nn.Module):
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
