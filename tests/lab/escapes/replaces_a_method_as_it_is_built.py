"""Held by imports: a method of all tensors, when a mixer is built.

Told as: imports
"""

from typing import Any

import torch
from torch import Tensor, nn


def attempt() -> object:
    kind: Any = type(torch.ones(1))
    kind.allclose = lambda *_, **__: True
    return torch.ones(1).allclose(torch.zeros(1))


class ReplacesAMethodAsItIsBuilt(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.told = attempt()

    def forward(self, x_BTD: Tensor) -> Tensor:
        raise RuntimeError(f"ESCAPED {self.told}")
