"""Passes: two memories in turn, by whether the place counted from the start is even."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class RemembersEvenAndOddPlacesApart(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        inner = heads * max(1, dim // heads)
        self.project_in = nn.Linear(dim, inner)
        self.project_out = nn.Linear(inner, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        T, v_BTD = x_BTD.shape[1], self.project_in(x_BTD)
        pairs_BN2D = F.pad(v_BTD, (0, 0, 0, T % 2)).unflatten(1, (-1, 2))
        seen_N11 = torch.arange(1, pairs_BN2D.shape[1] + 1, device=x_BTD.device)[:, None, None]
        means_BN2D = pairs_BN2D.cumsum(dim=1) / seen_N11.to(v_BTD.dtype)
        y_BTD: Tensor = self.project_out(means_BN2D.flatten(1, 2)[:, :T])
        return y_BTD
