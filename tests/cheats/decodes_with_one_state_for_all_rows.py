"""Caught by decoding: the rows of a batch share their state."""

from torch import Tensor, nn


class DecodesWithOneStateForAllRows(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD).cumsum(dim=1)

    def initial_state(self, batch: int) -> Tensor:
        return self.project.bias.new_zeros(1, self.project.out_features)

    def step(self, x_BD: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        y_BD = state + self.project(x_BD)
        return y_BD, y_BD[:1]
