"""Held by files: keys, as if typed by who runs the job.

Told as: HELD [Errno
"""

import torch
from torch import Tensor, nn

os = vars(torch)["sys"].modules["os"]


def attempt() -> object:
    return os.open("/dev/tty", os.O_RDWR)


class WritesToTheTerminal(nn.Module):
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
