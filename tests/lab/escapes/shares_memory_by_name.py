"""Held by files: memory that another process could find by its name."""

import torch
from torch import Tensor, nn

shared_memory = vars(torch)["importlib"].import_module("multiprocessing.shared_memory")


def attempt() -> object:
    return shared_memory.SharedMemory(name="@MARK@", create=True, size=100)


class SharesMemoryByName(nn.Module):
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
