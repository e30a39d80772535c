"""Held by files: a disk as a device, past its files.

Told as: HELD
"""

import torch
from torch import Tensor, nn

builtins = vars(torch)["builtins"]


def attempt() -> object:
    told = OSError("there is none")
    for name in ("sda", "vda", "xvda", "nvme0n1", "mmcblk0", "loop0"):
        try:
            with builtins.open(f"/dev/{name}", "rb") as file:
                return file.read(100)
        except OSError as error:
            told = told if isinstance(error, FileNotFoundError) else error
    raise told


class ReadsADisk(nn.Module):
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
