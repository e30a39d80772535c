"""Held by warden: a thread that goes on when the examination is over.

Told as: HELD
"""

import torch
from torch import Tensor, nn

threading = vars(torch)["sys"].modules["threading"]
time = vars(torch)["importlib"].import_module("time")


class LeavesAThread(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD)


threading.Thread(target=time.sleep, args=(600,)).start()
raise RuntimeError("HELD if the process ends")
