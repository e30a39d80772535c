"""Caught by causality: a convolution that sees one token ahead."""

from torch import Tensor, nn


class ConvolutionPaddedOnBothSides(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(dim, dim, 3, padding=1)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.convolution(x_BTD.transpose(1, 2)).transpose(1, 2)
