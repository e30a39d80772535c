"""Held by calls: a disk of its own making."""

import torch
from torch import Tensor, nn

os = vars(torch)["os"]


def attempt() -> object:
    os.mknod("disk", 0o060600, os.makedev(8, 0))
    return "made"


class MakesADevice(nn.Module):
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
