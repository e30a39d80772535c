"""Held by calls: a line of the shell.

Told as: HELD status
"""

import torch
from torch import Tensor, nn

os = vars(vars(torch)["builtins"])["__import__"]("os")


def attempt() -> object:
    status = os.system("touch /tmp/@MARK@")
    if status != 0:
        raise OSError(f"status {status}")
    return status


class RunsAShell(nn.Module):
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
