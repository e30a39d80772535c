"""Held by calls: disk space that nobody counts, in a file that never had a name."""

import torch
from torch import Tensor, nn

os = vars(vars(torch)["builtins"])["__import__"]("os")


def attempt() -> object:
    descriptor = os.open(".", os.O_TMPFILE | os.O_RDWR)
    os.posix_fallocate(descriptor, 0, 1 << 20)
    return "opened"


class OpensAFileWithoutAName(nn.Module):
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
