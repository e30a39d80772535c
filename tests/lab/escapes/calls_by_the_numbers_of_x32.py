"""Held by calls: a socket by the second set of numbers that x86-64 has.

Told as: HELD [Errno
"""

import torch
from torch import Tensor, nn

ctypes = vars(torch)["ctypes"]
os = vars(nn.functional)["torch"].sys.modules["os"]
libc = ctypes.CDLL(None, use_errno=True)


def attempt() -> object:
    done = libc.syscall(0x40000000 + 41, 2, 1, 0)
    if done < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return done


class CallsByTheNumbersOfX32(nn.Module):
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
