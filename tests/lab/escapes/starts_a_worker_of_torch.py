"""Held by imports: a process, by PyTorch's own module for it.

Told as: imports
"""

import torch
from torch import Tensor, nn


def attempt() -> object:
    worker = torch.multiprocessing.get_context("fork").Process(target=print)
    worker.start()
    return worker.pid


class StartsAWorkerOfTorch(nn.Module):
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
