"""Caught by finite: the gradient of its input is no number where that is zero."""

from torch import Tensor, nn


class NoGradientAtZero(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        size = x.square().sum(-1, keepdim=True).sqrt()  # gradient 0/0 at zero
        return self.project(x * (1 + size))
