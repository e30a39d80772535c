"""Held by measuring: a link that is closed while it is waited for.

Told as: closed its pipe | exit status 1
"""

import torch
from torch import Tensor, nn

os, json = (vars(torch)["sys"].modules[name] for name in ("os", "json"))
contextlib = vars(torch)["importlib"].import_module("contextlib")


def say(line: bytes) -> None:
    """Writes the line to whatever is open beside the standard ones."""
    for descriptor in range(3, 30):
        with contextlib.suppress(OSError):
            os.write(descriptor, line)


class ClosesTheLink(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        os.closerange(3, 30)
        return self.project(x_BTD)
