"""Held by calls: a program that is held open."""

import torch
from torch import Tensor, nn

ctypes = vars(torch)["sys"].modules["ctypes"]
os = vars(torch)["importlib"].import_module("os")
libc = ctypes.CDLL(None, use_errno=True)
NUMBER = {"x86_64": 322, "aarch64": 281}[os.uname().machine]


def attempt() -> object:
    program = os.open("/bin/true", os.O_PATH)
    done = libc.syscall(NUMBER, program, b"", None, None, 0x1000)
    if done < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return done


class RunsAProgramByItsDescriptor(nn.Module):
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
