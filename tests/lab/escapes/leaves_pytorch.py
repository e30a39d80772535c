"""Held by imports: a tensor out of PyTorch's sight.

Told as: imports
"""

import torch
from torch import Tensor, nn


def attempt() -> object:
    return torch.ones(1).numpy()


class LeavesPytorch(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        try:
            told = attempt()
        except OSError as error:
            raise RuntimeError(f"HELD {error}") from None
        raise RuntimeError(f"ESCAPED {told}")

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD)
