"""Held by warden: a disk without space for others, by files each of which is small enough.

Told as: wrote more than
"""

import torch
from torch import Tensor, nn

os = vars(vars(torch)["builtins"])["__import__"]("os")
time = vars(nn.functional)["torch"].sys.modules["time"]
builtins = vars(torch)["builtins"]


class FillsTheDisk(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD)


for number in range(20):
    with builtins.open(str(number), "wb") as file:
        os.posix_fallocate(file.fileno(), 0, 10 << 20)
time.sleep(60)
