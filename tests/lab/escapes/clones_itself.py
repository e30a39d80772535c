"""Held by calls: a process of its own, by the number of the call."""

import torch
from torch import Tensor, nn

ctypes = vars(torch)["ctypes"]
os = vars(torch)["sys"].modules["os"]
libc = ctypes.CDLL(None, use_errno=True)
NUMBER = {"x86_64": 56, "aarch64": 220}[os.uname().machine]


def attempt() -> object:
    done = libc.syscall(NUMBER, 17, 0, 0, 0, 0)
    if done < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return done


class ClonesItself(nn.Module):
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
