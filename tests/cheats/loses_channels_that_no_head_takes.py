"""Caught by builds: heads that do not divide the width drop what remains."""

from torch import Tensor, nn


class LosesChannelsThatNoHeadTakes(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.heads, self.size = heads, dim // heads

    def forward(self, x_BTD: Tensor) -> Tensor:
        y_BTHK = self.project(x_BTD)[..., : self.heads * self.size].unflatten(2, (-1, self.size))
        return y_BTHK.tanh().flatten(2)
