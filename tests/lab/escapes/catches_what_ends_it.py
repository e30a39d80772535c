"""Held by warden: a loop that catches every exception.

Told as: time limit
"""

import torch
from torch import Tensor, nn

time = vars(torch)["sys"].modules["time"]


class CatchesWhatEndsIt(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD)


while True:
    try:
        time.sleep(1)
    except BaseException:  # noqa: BLE001
        continue
