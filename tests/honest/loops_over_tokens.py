"""Passes: a recurrent network with a step in Python for each token: slow, and linear."""

import torch
from torch import Tensor, nn


class LoopsOverTokens(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = max(1, dim // heads)
        inner = heads * self.head_dim
        self.project_in = nn.Linear(dim, 2 * inner)
        self.recur = nn.Linear(inner, inner, bias=False)
        self.project_out = nn.Linear(inner, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        new_BTD, keep_BTD = self.project_in(x_BTD).chunk(2, dim=-1)
        h_BD = torch.zeros_like(new_BTD[:, 0])
        outputs = []
        for new_BD, keep_BD in zip(new_BTD.unbind(1), keep_BTD.sigmoid().unbind(1), strict=True):
            h_BD = torch.lerp((new_BD + self.recur(h_BD)).tanh(), h_BD, keep_BD)
            outputs.append(h_BD)
        y_BTD: Tensor = self.project_out(torch.stack(outputs, dim=1))
        return y_BTD
