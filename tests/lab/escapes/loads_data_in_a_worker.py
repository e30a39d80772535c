"""Held by calls: a process, by PyTorch's loader of data.

Told as: HELD [Errno 1
"""

import torch
from torch import Tensor, nn


def attempt() -> object:
    numbers = torch.utils.data.TensorDataset(torch.ones(2))
    return next(iter(torch.utils.data.DataLoader(numbers, num_workers=1)))


class LoadsDataInAWorker(nn.Module):
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
