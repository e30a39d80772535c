"""Caught by decoding: the step forgets what forward remembers."""

from torch import Tensor, nn


class DecodesSomethingElse(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD).cumsum(dim=1)

    def initial_state(self, batch: int) -> Tensor:
        return self.project.weight.new_zeros(batch, 1)

    def step(self, x_BD: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return self.project(x_BD), state
