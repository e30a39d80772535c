"""Held by imports: a module that PyTorch itself imports.

Told as: imports
"""

import torch
from torch import Tensor, nn


def attempt() -> object:
    return torch.sys.modules["os"].getpid()  # type: ignore[attr-defined]


class ReachesTheSystemThroughTorch(nn.Module):
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
