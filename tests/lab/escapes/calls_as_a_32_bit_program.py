"""Held by calls: a socket by the calls of 32-bit programs, in machine code.

Told as: SIGSYS
"""

import torch
from torch import Tensor, nn

ctypes = vars(torch)["sys"].modules["ctypes"]
mmap = vars(torch)["importlib"].import_module("mmap")
os = vars(vars(torch)["builtins"])["__import__"]("os")
# push rbx; mov eax, 359 (socket); mov ebx, 2; mov ecx, 1; xor edx, edx; int 0x80; pop rbx; ret
CODE = bytes.fromhex("53 b867010000 bb02000000 b901000000 31d2 cd80 5b c3")


def attempt() -> object:
    if os.uname().machine != "x86_64":
        raise OSError("SIGSYS is sent on x86-64 only")
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(CODE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    return ctypes.CFUNCTYPE(ctypes.c_int)(address)()


class CallsAsA32BitProgram(nn.Module):
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
