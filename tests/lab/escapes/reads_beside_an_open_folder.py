"""Held by files: a file relative to the root folder, held open."""

import torch
from torch import Tensor, nn

os = vars(torch)["os"]


def attempt() -> object:
    root = os.open("/", os.O_PATH)
    return os.read(os.open("@SECRET@"[1:], os.O_RDONLY, dir_fd=root), 100)


class ReadsBesideAnOpenFolder(nn.Module):
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
