"""Held by calls: a session of its own, as a daemon has."""

import torch
from torch import Tensor, nn

os = vars(torch)["os"]


def attempt() -> object:
    os.setpgid(0, os.getpgid(os.getppid()))
    return "left"


class LeavesItsSession(nn.Module):
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
