"""Held by files: disk space that nobody counts, in an open file whose name another got."""

import torch
from torch import Tensor, nn

os = vars(vars(torch)["builtins"])["__import__"]("os")


def attempt() -> object:
    descriptor = os.open("mine", os.O_CREAT | os.O_RDWR)
    os.close(os.open("other", os.O_CREAT | os.O_RDWR))
    os.rename("other", "mine")
    os.posix_fallocate(descriptor, 0, 1 << 20)
    return "kept"


class PutsAFileOverAnother(nn.Module):
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
