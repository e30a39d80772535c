"""Held by calls: the memory of another process, past the files of /proc."""

import torch
from torch import Tensor, nn

ctypes = vars(torch)["ctypes"]
os = vars(torch)["importlib"].import_module("os")
libc = ctypes.CDLL(None, use_errno=True)


def attempt() -> object:
    done = libc.process_vm_readv(os.getppid(), None, 0, None, 0, 0)
    if done < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return done


class ReadsTheMemoryOfItsWardenByCall(nn.Module):
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
