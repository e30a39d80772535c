"""Caught by interface: a squeeze that only bites where the sequence is one token long."""

from torch import Tensor, nn


class SingleTokenLosesItsDimension(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD).squeeze(1)
