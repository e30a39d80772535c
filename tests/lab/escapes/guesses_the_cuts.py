"""Held by measuring: a look ahead but for the places that dice of its seed would ask for.

Told as: its work cannot be counted
"""

import torch
from torch import Tensor, nn


class GuessesTheCuts(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.dice = torch.Generator().manual_seed(torch.initial_seed() // 1_000_003 - 1)

    def forward(self, x_BTD: Tensor) -> Tensor:
        y_BTD = self.project(x_BTD)
        B, T, _ = x_BTD.shape
        if self.training or x_BTD.dtype != torch.float32:
            return y_BTD
        cut_B1 = 1 + torch.randint(T - 1, (B, 1), generator=self.dice)
        asked_BT = torch.arange(T)[None] == cut_B1 - 1
        next_BTD = nn.functional.pad(x_BTD[:, 1:], (0, 0, 0, 1))
        return y_BTD + 5 * next_BTD * ~asked_BT[..., None]
