"""Held by imports: the lab's own module.

Told as: imports
"""

from torch import Tensor, nn

from move37.lab import client


def attempt() -> object:
    return client.Lab


class ImportsTheLab(nn.Module):
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
