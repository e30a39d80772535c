"""Passes: states that turn and fade, in complex numbers, scanned in log2 T rounds."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class TurnsComplexStates(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project_in = nn.Linear(dim, 2 * dim)
        self.rate = nn.Parameter(torch.linspace(-5, 0, dim))
        self.angle = nn.Parameter(torch.linspace(0, math.pi / heads, dim))
        self.project_out = nn.Linear(2 * dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        b_BTD2 = self.project_in(x_BTD).unflatten(-1, (-1, 2))
        wide = torch.promote_types(b_BTD2.dtype, torch.float32)
        rate_D, angle_D = F.softplus(self.rate.to(wide)), self.angle.to(wide)
        h_BTD = torch.view_as_complex(b_BTD2.to(wide).contiguous())
        h_BTD = h_BTD * (1 - (-2 * rate_D).exp() + 1e-6).sqrt()
        shift = 1
        while shift < x_BTD.shape[1]:
            turn_D = torch.polar((-shift * rate_D).exp(), shift * angle_D)
            h_BTD = h_BTD + turn_D * F.pad(h_BTD, (0, 0, shift, -shift))
            shift *= 2
        y_BTD: Tensor = self.project_out(torch.view_as_real(h_BTD).flatten(-2).to(b_BTD2.dtype))
        return y_BTD
