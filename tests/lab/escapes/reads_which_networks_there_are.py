"""Held by network: the list of the machine's network devices.

Told as: HELD nothing of it is there
"""

import torch
from torch import Tensor, nn

builtins = vars(torch)["builtins"]


def attempt() -> object:
    with builtins.open("/proc/self/net/dev") as file:
        names = [line.split(":")[0].strip() for line in file.readlines()[2:]]
    if not set(names) - {"lo"}:
        raise OSError("nothing of it is there")
    return names


class ReadsWhichNetworksThereAre(nn.Module):
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
