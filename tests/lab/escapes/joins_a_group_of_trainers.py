"""Held by calls: a connection in C++, by torch.distributed.

Told as: HELD
"""

import torch
from torch import Tensor, nn

datetime = vars(vars(torch)["builtins"])["__import__"]("datetime")
PORT = int("@PORT@")


def attempt() -> object:
    return vars(torch)["distributed"].TCPStore(
        "127.0.0.1", PORT, is_master=False, timeout=datetime.timedelta(seconds=1)
    )


class JoinsAGroupOfTrainers(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD)


try:
    told = attempt()
except RuntimeError as error:
    raise RuntimeError(f"HELD {error}") from None
raise RuntimeError(f"ESCAPED {told}")
