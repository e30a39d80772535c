"""Caught by sub-quadratic: all pairs where autocast is on; the same outputs."""

import torch
from torch import Tensor, nn


class QuadraticUnderAutocast(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project_qkv = nn.Linear(dim, 24)
        self.project_out = nn.Linear(8, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        q_BTK, k_BTK, v_BTV = self.project_qkv(x_BTD).chunk(3, dim=2)
        if torch.is_autocast_enabled("cpu"):
            return self.project_out((q_BTK @ k_BTK.mT).tril() @ v_BTV)
        memory_BTKV = (k_BTK[..., None] * v_BTV[:, :, None]).cumsum(dim=1)
        return self.project_out((q_BTK[:, :, None] @ memory_BTKV)[:, :, 0])
