"""Held by calls: a socket by the number of the system call, past libc's function."""

import torch
from torch import Tensor, nn

ctypes = vars(vars(torch)["builtins"])["__import__"]("ctypes")
os = vars(torch)["os"]
libc = ctypes.CDLL(None, use_errno=True)
NUMBER = {"x86_64": 41, "aarch64": 198}[os.uname().machine]


def attempt() -> object:
    done = libc.syscall(NUMBER, 2, 1, 0)
    if done < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return done


class ConnectsByTheNumberOfTheCall(nn.Module):
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
