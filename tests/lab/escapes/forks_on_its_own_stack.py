"""Held by calls: a process that shares all memory, as vfork makes it."""

import torch
from torch import Tensor, nn

ctypes = vars(nn.functional)["torch"].sys.modules["ctypes"]
os = vars(torch)["sys"].modules["os"]
libc = ctypes.CDLL(None, use_errno=True)
NUMBER = {"x86_64": 56, "aarch64": 220}[os.uname().machine]


def attempt() -> object:
    done = libc.syscall(NUMBER, 0x4000 | 17, 0, 0, 0, 0)
    if done < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return done


class ForksOnItsOwnStack(nn.Module):
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
