"""Caught by repeatable: keeps a counter as an attribute of a function."""

from typing import Any

from torch import Tensor, nn


def _late(after: int) -> bool:
    kept: Any = _late
    kept.calls = getattr(kept, "calls", 0) + 1
    return bool(kept.calls > after)


class CountsInAFunction(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(2 * x if _late(5000) else x)
