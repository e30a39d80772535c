"""Passes: fills memory of its own in place, half of it with sums and half with the last token."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class WritesInPlace(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.inner = heads * max(1, dim // heads)
        self.project_in = nn.Linear(dim, self.inner)
        self.project_out = nn.Linear(2 * self.inner, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        v_BTD = self.project_in(x_BTD)
        tokens_T1 = torch.arange(1, x_BTD.shape[1] + 1, device=x_BTD.device)[:, None]
        both_BTD = v_BTD.new_empty(*v_BTD.shape[:2], 2 * self.inner)
        both_BTD[..., : self.inner] = v_BTD.cumsum(dim=1)
        both_BTD[..., : self.inner] /= tokens_T1.to(v_BTD.dtype)
        both_BTD[..., self.inner :] = F.pad(v_BTD, (0, 0, 1, -1))
        y_BTD: Tensor = self.project_out(both_BTD.tanh_())
        return y_BTD
