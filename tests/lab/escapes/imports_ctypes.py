"""Held by imports: the module that calls C.

Told as: imports
"""

from ctypes import CDLL

from torch import Tensor, nn


def attempt() -> object:
    return CDLL(None)


class ImportsCtypes(nn.Module):
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
