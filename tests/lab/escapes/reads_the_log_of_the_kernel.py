"""Held by calls: what the kernel has printed."""

import torch
from torch import Tensor, nn

ctypes = vars(torch)["ctypes"]
os = vars(vars(torch)["builtins"])["__import__"]("os")
libc = ctypes.CDLL(None, use_errno=True)


def attempt() -> object:
    text = ctypes.create_string_buffer(100)
    done = libc.klogctl(3, text, 100)
    if done < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return done


class ReadsTheLogOfTheKernel(nn.Module):
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
