"""Passes: no memory but the last tokens, each channel in a learned share; a head shifts further."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ShiftsTokens(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.share = nn.Parameter(torch.linspace(-2, 2, dim).repeat(heads, 1))
        self.project_in = nn.Linear(dim, 2 * dim)
        self.project_out = nn.Linear(2 * dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        y_BTD = x_BTD
        for head, share_D in enumerate(self.share.unbind()):
            before_BTD = F.pad(y_BTD, (0, 0, head + 1, 0))[:, : x_BTD.shape[1]]
            y_BTD = torch.lerp(y_BTD, before_BTD, share_D.sigmoid().to(y_BTD.dtype))
        o_BTD: Tensor = self.project_out(F.silu(self.project_in(y_BTD)))
        return o_BTD
