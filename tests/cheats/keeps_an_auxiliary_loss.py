"""Caught by restorable: a loss of its own waits in an attribute that no trainer reads."""

from torch import Tensor, nn


class KeepsAnAuxiliaryLoss(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.balance: Tensor | None = None

    def forward(self, x_BTD: Tensor) -> Tensor:
        y_BTD = self.project(x_BTD)
        self.balance = y_BTD.square().mean()
        return y_BTD
