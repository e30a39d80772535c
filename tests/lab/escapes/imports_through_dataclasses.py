"""Held by imports: the function behind the statement, from a module that it may import.

Told as: imports
"""

import dataclasses

from torch import Tensor, nn


def attempt() -> object:
    return dataclasses.builtins.__import__("os").getpid()  # type: ignore[attr-defined]


class ImportsThroughDataclasses(nn.Module):
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
