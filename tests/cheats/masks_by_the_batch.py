"""Caught by independence: a token counts if it is larger than the mean of the other rows."""

from torch import Tensor, nn


class MasksByTheBatch(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        y_BTD = self.project(x_BTD)
        size_BT1 = x_BTD.abs().amax(dim=2, keepdim=True)
        return y_BTD * (1 + (size_BT1 >= size_BT1.mean(dim=0)).to(y_BTD))
