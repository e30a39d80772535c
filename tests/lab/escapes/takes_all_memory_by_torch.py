"""Held by limits: more memory than was granted, as a tensor.

Told as: allocate
"""

import torch
from torch import Tensor, nn


def attempt() -> object:
    return torch.empty(10**10)


class TakesAllMemoryByTorch(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        try:
            told = attempt()
        except RuntimeError as error:
            raise RuntimeError(f"HELD {error}") from None
        raise RuntimeError(f"ESCAPED {told}")
