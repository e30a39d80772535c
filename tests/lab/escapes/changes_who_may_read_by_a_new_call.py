"""Held by calls: the mode of another file, by the youngest call for it."""

import torch
from torch import Tensor, nn

ctypes = vars(torch)["ctypes"]
os = vars(vars(torch)["builtins"])["__import__"]("os")
libc = ctypes.CDLL(None, use_errno=True)


def attempt() -> object:
    done = libc.syscall(452, -100, b"@VICTIM@", 0o666, 0)
    if done < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return done


class ChangesWhoMayReadByANewCall(nn.Module):
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
