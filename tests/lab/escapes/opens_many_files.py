"""Held by limits: more open files than the machine may spare.

Told as: HELD [Errno 24]
"""

import torch
from torch import Tensor, nn

os = vars(torch)["sys"].modules["os"]


def attempt() -> object:
    return [os.open("/dev/null", os.O_RDONLY) for _ in range(1000)]


class OpensManyFiles(nn.Module):
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
