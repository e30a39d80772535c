"""Held by limits: more memory than was granted, as bytes.

Told as: HELD
"""

from torch import Tensor, nn


def attempt() -> object:
    return len(b"x" * (8 << 30))


class TakesAllMemoryByBytes(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD)


try:
    told = attempt()
except MemoryError as error:
    raise RuntimeError(f"HELD {error}") from None
raise RuntimeError(f"ESCAPED {told}")
