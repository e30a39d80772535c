"""Held by calls: another program in its own place."""

import torch
from torch import Tensor, nn

os = vars(vars(torch)["builtins"])["__import__"]("os")


def attempt() -> object:
    os.execv("/bin/true", ["true"])
    return "ran"


class BecomesAnotherProgram(nn.Module):
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
