"""Held by lab: a stage whose name would move the cursor.

Told as: exit status 3
"""

import torch
from torch import Tensor, nn

os = vars(torch)["importlib"].import_module("os")
json = vars(vars(torch)["builtins"])["__import__"]("json")
contextlib = vars(vars(torch)["builtins"])["__import__"]("contextlib")


def say(line: bytes) -> None:
    """Writes the line to whatever is open beside the standard ones."""
    for descriptor in range(3, 30):
        with contextlib.suppress(OSError):
            os.write(descriptor, line + b"\n")


class EntersAStageInColour(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD)


say(json.dumps({"stage": "\x1b[2J" + "x" * 1_000 + "\r"}).encode())
os._exit(3)
