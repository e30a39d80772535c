"""Held by files: what other processes share in memory."""

import torch
from torch import Tensor, nn

os = vars(torch)["os"]


def attempt() -> object:
    return os.listdir("/dev/shm")


class ListsTheSharedMemory(nn.Module):
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
