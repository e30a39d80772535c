"""Held by warden: a process that says goodbye and goes on.

Told as: closed its pipe and went on
"""

import torch
from torch import Tensor, nn

os = vars(vars(torch)["builtins"])["__import__"]("os")
time = vars(nn.functional)["torch"].sys.modules["time"]


class ClosesItsPipe(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD)


os.closerange(3, 30)
while True:
    time.sleep(1)
