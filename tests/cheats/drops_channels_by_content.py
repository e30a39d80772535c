"""Caught by causality: dropout in train mode whose mask is chosen by the whole sequence."""

from torch import Tensor, nn


class DropsChannelsByContent(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        y_BTD = self.project(x_BTD)
        if not self.training:
            return y_BTD
        kept_B1D = (y_BTD.mean(dim=1, keepdim=True) > 0).to(y_BTD)
        return 2 * kept_B1D * y_BTD
