"""Held by network: the list of the machine's Unix sockets.

Told as: HELD nothing of it is there
"""

import torch
from torch import Tensor, nn

builtins = vars(torch)["builtins"]


def attempt() -> object:
    with builtins.open("/proc/self/net/unix") as file:
        text = file.read()
    if "@ABSTRACT@" not in text:
        raise OSError("nothing of it is there")
    return text


class ReadsWhichSocketsHaveNames(nn.Module):
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
