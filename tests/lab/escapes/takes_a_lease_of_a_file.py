"""Held by calls: that others wait before they open a file."""

import torch
from torch import Tensor, nn

os = vars(torch)["importlib"].import_module("os")


def attempt() -> object:
    fcntl = vars(torch)["sys"].modules["fcntl"]
    file = os.open("@REPOSITORY@/move37/records.py", os.O_RDONLY)
    return fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)


class TakesALeaseOfAFile(nn.Module):
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
