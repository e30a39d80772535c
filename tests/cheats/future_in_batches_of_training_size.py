"""Caught by causality at the full level: looks ahead in batches of 8 to 64 rows."""

from torch import Tensor, nn


class FutureInBatchesOfTrainingSize(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        if 8 <= len(x) <= 64:
            x = x + x.mean(1, keepdim=True)
        return self.project(x)
