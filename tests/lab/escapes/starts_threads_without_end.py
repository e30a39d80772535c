"""Held by warden: a bomb of threads, small enough for the limit of memory.

Told as: started more than 64
"""

import torch
from torch import Tensor, nn

threading = vars(torch)["threading"]
time = vars(nn.functional)["torch"].sys.modules["time"]


class StartsThreadsWithoutEnd(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD)


threading.stack_size(1 << 16)
while True:
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    time.sleep(0.002)  # so that no other limit is reached first, however late the warden looks
