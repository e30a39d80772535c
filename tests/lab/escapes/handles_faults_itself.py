"""Held by calls: faults of memory handled by itself, as exploits do."""

import torch
from torch import Tensor, nn

ctypes = vars(torch)["sys"].modules["ctypes"]
os = vars(torch)["os"]
libc = ctypes.CDLL(None, use_errno=True)
NUMBER = {"x86_64": 323, "aarch64": 282}[os.uname().machine]


def attempt() -> object:
    done = libc.syscall(NUMBER, 1)
    if done < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return done


class HandlesFaultsItself(nn.Module):
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
