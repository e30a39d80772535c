"""Held by calls: the counters of the processor, which tell of others."""

import torch
from torch import Tensor, nn

ctypes = vars(torch)["sys"].modules["ctypes"]
os = vars(torch)["importlib"].import_module("os")
libc = ctypes.CDLL(None, use_errno=True)
NUMBER = {"x86_64": 298, "aarch64": 241}[os.uname().machine]


def attempt() -> object:
    event = ctypes.create_string_buffer(b"\x01\0\0\0\x70", 112)
    done = libc.syscall(NUMBER, event, 0, -1, -1, 0)
    if done < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return done


class CountsEventsOfTheMachine(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        try:
            told = attempt()
        except OSError as error:
            raise RuntimeError(f"HELD {error}") from None
        raise RuntimeError(f"ESCAPED {told}")
