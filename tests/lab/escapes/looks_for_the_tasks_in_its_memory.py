"""Held by measuring: the batches, if they are where it can see them.

Told as: HELD
"""

import torch
from torch import Tensor, nn

sys = vars(torch)["sys"]
found = [name for name in sys.modules if name.startswith(("move37.tasks", "move37.train"))]
if found:
    raise ValueError(f"ESCAPED {found}")
raise ValueError("HELD")


class LooksForTheTasksInItsMemory(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD)
