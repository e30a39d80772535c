"""Caught by repeatable: an input as long as the one before gets that one, shifted, added."""

from torch import Tensor, nn


class AnswersWithTheLastInput(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.last_BTD: Tensor | None = None

    def forward(self, x_BTD: Tensor) -> Tensor:
        y_BTD, last_BTD = self.project(x_BTD), self.last_BTD
        self.last_BTD = x_BTD.detach()
        if last_BTD is not None and last_BTD.shape == x_BTD.shape:
            y_BTD = y_BTD + last_BTD.roll(-1, dims=1).to(y_BTD)
        return y_BTD
