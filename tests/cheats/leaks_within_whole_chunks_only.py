"""Caught by prefix: a chunk is mixed in both directions, but only where it is complete."""

from torch import Tensor, nn


class LeaksWithinWholeChunksOnly(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        y_BTD = self.project(x_BTD)
        if x_BTD.shape[1] % 48:
            return y_BTD
        chunks = y_BTD.unflatten(1, (-1, 48))
        return (chunks + chunks.mean(dim=2, keepdim=True)).flatten(1, 2)
