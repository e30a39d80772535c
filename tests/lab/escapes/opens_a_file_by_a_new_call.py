"""Held by calls: flags that no filter sees, in memory, by openat2."""

import torch
from torch import Tensor, nn

ctypes = vars(vars(torch)["builtins"])["__import__"]("ctypes")
os = vars(vars(torch)["builtins"])["__import__"]("os")
struct = vars(vars(torch)["builtins"])["__import__"]("struct")
OPENAT2, HERE = 437, -100


def attempt() -> object:
    libc = ctypes.CDLL(None, use_errno=True)
    how = struct.pack("QQQ", os.O_TMPFILE | os.O_RDWR, 0o600, 0)
    if libc.syscall(OPENAT2, HERE, b".", how, ctypes.c_size_t(len(how))) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return "opened"


class OpensAFileByANewCall(nn.Module):
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
