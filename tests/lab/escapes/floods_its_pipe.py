"""Held by warden: endless stages.

Told as: said more than 4 MiB
"""

import torch
from torch import Tensor, nn

os = vars(vars(torch)["builtins"])["__import__"]("os")
contextlib = vars(vars(torch)["builtins"])["__import__"]("contextlib")
LINE = b'{"stage": "x"}\n' * 1000


class FloodsItsPipe(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD)


while True:
    for descriptor in range(3, 30):
        with contextlib.suppress(OSError):
            os.write(descriptor, LINE)
