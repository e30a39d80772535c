"""Held by files: what another file holds, by PyTorch's own writer.

Told as: HELD
"""

import torch
from torch import Tensor, nn


def attempt() -> object:
    vars(torch)["save"]({}, "@VICTIM@")
    return "saved"


class OverwritesAFileByTorch(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD)


try:
    told = attempt()
except (OSError, RuntimeError) as error:
    raise RuntimeError(f"HELD {error}") from None
raise RuntimeError(f"ESCAPED {told}")
