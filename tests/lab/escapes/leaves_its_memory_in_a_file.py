"""Held by limits: more memory than was granted, as a device that is mapped.

Told as: HELD [Errno 12]
"""

import torch
from torch import Tensor, nn

mmap = vars(torch)["sys"].modules["mmap"]
os = vars(torch)["importlib"].import_module("os")


def attempt() -> object:
    return mmap.mmap(os.open("/dev/zero", os.O_RDWR), 8 << 30)


class LeavesItsMemoryInAFile(nn.Module):
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
