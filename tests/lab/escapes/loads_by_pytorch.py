"""Held by imports: a file, by PyTorch's reader.

Told as: imports
"""

import torch
from torch import Tensor, nn


def attempt() -> object:
    return torch.load("@SECRET@")


class LoadsByPytorch(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        try:
            told = attempt()
        except OSError as error:
            raise RuntimeError(f"HELD {error}") from None
        raise RuntimeError(f"ESCAPED {told}")
