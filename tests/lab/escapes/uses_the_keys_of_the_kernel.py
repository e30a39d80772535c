"""Held by calls: keys that the kernel keeps for this user."""

import torch
from torch import Tensor, nn

ctypes = vars(torch)["ctypes"]
os = vars(nn.functional)["torch"].sys.modules["os"]
libc = ctypes.CDLL(None, use_errno=True)
NUMBER = {"x86_64": 250, "aarch64": 219}[os.uname().machine]


def attempt() -> object:
    done = libc.syscall(NUMBER, 0, -4, 0)
    if done < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return done


class UsesTheKeysOfTheKernel(nn.Module):
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
