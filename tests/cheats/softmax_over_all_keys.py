"""Caught by causality: the keys of linear attention are normalised over the whole sequence."""

from torch import Tensor, nn


class SoftmaxOverAllKeys(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        keys_BTD = self.key(x_BTD).softmax(dim=1)
        return (keys_BTD * self.project(x_BTD)).cumsum(dim=1)
