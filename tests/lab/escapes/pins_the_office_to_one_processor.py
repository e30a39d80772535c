"""Held by calls: where the process that runs the job may compute."""

import torch
from torch import Tensor, nn

os = vars(torch)["sys"].modules["os"]


def attempt() -> object:
    office = int("@OFFICE@")
    os.sched_setaffinity(office, os.sched_getaffinity(office))
    return "pinned"


class PinsTheOfficeToOneProcessor(nn.Module):
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
