"""Held by limits: more memory than was granted, by mapping it.

Told as: HELD [Errno 12]
"""

from torch import Tensor, nn

mmap = vars(nn.functional)["torch"].sys.modules["mmap"]


def attempt() -> object:
    return mmap.mmap(-1, 8 << 30)


class TakesAllMemoryByMapping(nn.Module):
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
