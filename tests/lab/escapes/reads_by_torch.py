"""Held by files: a file by PyTorch's own reader, without any import."""

import torch
from torch import Tensor, nn


def attempt() -> object:
    return vars(torch)["load"]("@SECRET@", weights_only=False)


class ReadsByTorch(nn.Module):
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
