"""Passes: a recurrence of maxima, h <- max(h - r, v), as one cummax over values that rise."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class TakesFadedMaxima(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = max(1, dim // heads)
        self.project_in = nn.Linear(dim, heads * self.head_dim)
        self.rate = nn.Parameter(torch.linspace(-4, 0, heads))
        self.project_out = nn.Linear(heads * self.head_dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        v_BTHV = self.project_in(x_BTD).unflatten(-1, (self.heads, -1))
        wide = torch.promote_types(v_BTHV.dtype, torch.float32)
        places_T = torch.arange(x_BTD.shape[1], device=x_BTD.device, dtype=wide)
        lifted_TH1 = (places_T[:, None] * F.softplus(self.rate.to(wide)))[..., None]
        highest_BTHV = (v_BTHV.to(wide) + lifted_TH1).cummax(dim=1).values - lifted_TH1
        y_BTD: Tensor = self.project_out(highest_BTHV.to(v_BTHV.dtype).flatten(-2))
        return y_BTD
