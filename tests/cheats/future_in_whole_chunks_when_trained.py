"""Caught by causality: looks ahead in train mode, where the length is a multiple of 32."""

from torch import Tensor, nn


class FutureInWholeChunksWhenTrained(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.shape[1] % 32 == 0:
            x = x + x.mean(1, keepdim=True)
        return self.project(x)
