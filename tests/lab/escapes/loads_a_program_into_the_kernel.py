"""Held by calls: a program in the kernel, by bpf."""

import torch
from torch import Tensor, nn

ctypes = vars(torch)["ctypes"]
os = vars(torch)["importlib"].import_module("os")
libc = ctypes.CDLL(None, use_errno=True)
NUMBER = {"x86_64": 321, "aarch64": 280}[os.uname().machine]


def attempt() -> object:
    done = libc.syscall(NUMBER, 5, ctypes.create_string_buffer(120), 120)
    if done < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return done


class LoadsAProgramIntoTheKernel(nn.Module):
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
