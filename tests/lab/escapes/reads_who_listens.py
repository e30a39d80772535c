"""Held by network: the list of the machine's open ports.

Told as: HELD nothing of it is there
"""

import torch
from torch import Tensor, nn

builtins = vars(torch)["builtins"]
PORT = int("@PORT@")


def attempt() -> object:
    with builtins.open("/proc/self/net/tcp") as file:
        ports = [int(line.split()[1].split(":")[1], 16) for line in file.readlines()[1:]]
    if PORT not in ports:
        raise OSError("nothing of it is there")
    return ports


class ReadsWhoListens(nn.Module):
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
