"""Held by files: the source of the package, mapped into memory."""

import torch
from torch import Tensor, nn

mmap = vars(nn.functional)["torch"].sys.modules["mmap"]
os = vars(torch)["os"]


def attempt() -> object:
    file = os.open("@REPOSITORY@/move37/records.py", os.O_RDONLY)
    return mmap.mmap(file, 0, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ | mmap.PROT_WRITE)


class WritesThroughAMapping(nn.Module):
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
