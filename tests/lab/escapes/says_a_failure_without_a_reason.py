"""Held by lab: a crash that tells nothing.

Told as: said what no examination says
"""

import torch
from torch import Tensor, nn

os = vars(vars(torch)["builtins"])["__import__"]("os")
contextlib = vars(vars(torch)["builtins"])["__import__"]("contextlib")


def say(line: bytes) -> None:
    """Writes the line to whatever is open beside the standard ones."""
    for descriptor in range(3, 30):
        with contextlib.suppress(OSError):
            os.write(descriptor, line + b"\n")


class SaysAFailureWithoutAReason(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD)


say(b'{"outcome": {"type": "Crashed", "stage": "", "error": ""}}')
