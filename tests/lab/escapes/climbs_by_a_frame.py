"""Held by imports: the namespace of whoever runs it, from frame to frame.

Told as: imports
"""

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

found: Any = None


def frames() -> Iterator[object]:
    frame = found.gi_frame.f_back
    while frame:
        yield frame.f_globals["__name__"]
        frame = frame.f_back


def attempt() -> object:
    global found
    found = frames()
    return list(found)


class ClimbsByAFrame(nn.Module):
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
