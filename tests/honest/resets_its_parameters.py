"""Passes: reset_parameters initialises all, buffers too, also after the meta device."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ResetsItsParameters(nn.Module):
    slopes_D: Tensor

    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(dim, dim))
        self.gate = nn.Linear(dim, dim)
        self.register_buffer("slopes_D", torch.empty(dim))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        nn.init.orthogonal_(self.weight)
        self.slopes_D.copy_(torch.linspace(-1, 1, self.slopes_D.shape[0]))

    def forward(self, x_BTD: Tensor) -> Tensor:
        h_BTD = F.linear(x_BTD, self.weight) * self.gate(x_BTD).sigmoid()
        counts_T1 = torch.arange(1, x_BTD.shape[1] + 1).to(h_BTD)[:, None]
        y_BTD: Tensor = (h_BTD.cumsum(dim=1) / counts_T1) * (1 + self.slopes_D)
        return y_BTD.to(h_BTD.dtype)
