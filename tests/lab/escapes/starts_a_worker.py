"""Held by calls: a process, by multiprocessing."""

import torch
from torch import Tensor, nn

multiprocessing = vars(torch)["importlib"].import_module("multiprocessing")


def attempt() -> object:
    worker = multiprocessing.get_context("fork").Process(target=print)
    worker.start()
    return worker.pid


class StartsAWorker(nn.Module):
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
