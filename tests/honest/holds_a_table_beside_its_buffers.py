"""Passes: a table of frequencies as a plain attribute, in the type in which it was made."""

import torch
from torch import Tensor, nn


class HoldsATableBesideItsBuffers(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.tables = {"rate": torch.linspace(0.1, 1.0, dim)}

    def forward(self, x_BTD: Tensor) -> Tensor:
        places_T1 = torch.arange(x_BTD.shape[1], dtype=x_BTD.dtype)[:, None]
        turned_TD = (places_T1 * self.tables["rate"].to(x_BTD.dtype)).cos()
        y_BTD: Tensor = (self.project(x_BTD) * turned_TD).cumsum(dim=1)
        return y_BTD
