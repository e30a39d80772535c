"""Held by privileges: its limits set back to none.

Told as: HELD not allowed to raise maximum limit
"""

import torch
from torch import Tensor, nn

resource = vars(torch)["importlib"].import_module("resource")


def attempt() -> object:
    everything = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    resource.setrlimit(resource.RLIMIT_AS, everything)
    return resource.getrlimit(resource.RLIMIT_AS)


class RaisesItsLimits(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD)


try:
    told = attempt()
except (OSError, ValueError) as error:
    raise RuntimeError(f"HELD {error}") from None
raise RuntimeError(f"ESCAPED {told}")
