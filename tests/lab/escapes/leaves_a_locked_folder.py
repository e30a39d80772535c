"""Held by warden: a folder that its own user may not enter, with a file in it.

Told as: HELD
"""

import torch
from torch import Tensor, nn

os = vars(torch)["os"]
builtins = vars(torch)["builtins"]


class LeavesALockedFolder(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD)


os.mkdir("inner")
with builtins.open("inner/file", "w"):
    pass
os.mkdir("locked", 0)
os.umask(0o777)
os.mkdir("inner/none")
raise RuntimeError("HELD if nothing of it stays")
