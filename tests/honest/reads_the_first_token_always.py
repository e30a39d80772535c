"""Passes: adds the first token to every later one, by a gate: a place that no length moves."""

from torch import Tensor, nn


class ReadsTheFirstTokenAlways(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.gate = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        h_BTD = self.project(x_BTD)
        y_BTD: Tensor = h_BTD + self.gate(x_BTD).sigmoid() * h_BTD[:, :1]
        return y_BTD
