"""Held by warden: a line without an end.

Told as: said more than 4 MiB
"""

import torch
from torch import Tensor, nn

os = vars(torch)["sys"].modules["os"]
contextlib = vars(vars(torch)["builtins"])["__import__"]("contextlib")
LINE = b"x" * 65536


class SaysOneLongLine(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD)


while True:
    for descriptor in range(3, 30):
        with contextlib.suppress(OSError):
            os.write(descriptor, LINE)
