"""Held by lab: last words that move the cursor and change the title.

Told as: farewell
"""

import torch
from torch import Tensor, nn

os = vars(torch)["os"]


class PrintsWhatColoursTheTerminal(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD)


os.write(2, b"\x1b[2J\x1b]0;ESC\x07 farewell \xff\x9b31m")
os._exit(3)
