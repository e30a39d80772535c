"""Passes: each token goes to one expert of four, chosen by itself and not beside other tokens."""

import torch
from torch import Tensor, nn

from move37.nn import ops


class RoutesTokensToExperts(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.router = nn.Linear(dim, 4, bias=False)
        self.experts = nn.ModuleList(nn.Linear(dim, dim) for _ in range(4))
        self.recent = nn.Parameter(torch.randn(dim, 2 + heads) / (2 + heads) ** 0.5)

    def forward(self, x_BTD: Tensor) -> Tensor:
        x_ND = x_BTD.flatten(0, 1)
        gate_N, chosen_N = self.router(x_ND).softmax(dim=-1).max(dim=-1)
        y_ND = torch.zeros_like(x_ND)
        for number, expert in enumerate(self.experts):
            places = (chosen_N == number).nonzero()[:, 0]  # how many: by the tokens themselves
            o_ND = expert(x_ND[places]) * gate_N[places, None]
            y_ND = y_ND.index_add(0, places, o_ND.to(y_ND.dtype))
        return ops.short_convolution(y_ND.view_as(x_BTD), self.recent)
