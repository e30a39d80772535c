"""Held by imports: a module that PyTorch itself imports, by its name.

Told as: imports
"""

from torch import Tensor, nn
from torch import sys as system  # type: ignore[attr-defined]


def attempt() -> object:
    return system.modules["os"].getpid()


class ImportsTheSystemFromTorch(nn.Module):
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
