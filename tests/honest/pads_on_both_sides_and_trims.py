"""Passes: a convolution padded on both sides, of which only the outputs of the past are kept."""

from torch import Tensor, nn


class PadsOnBothSidesAndTrims(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        inner = heads * max(1, dim // heads)
        self.project_in = nn.Linear(dim, inner)
        self.convolution = nn.Conv1d(inner, inner, 4, padding=3, groups=inner)
        self.project_out = nn.Linear(inner, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        y_BDT = self.convolution(self.project_in(x_BTD).transpose(1, 2))
        y_BTD: Tensor = self.project_out(y_BDT[..., : x_BTD.shape[1]].transpose(1, 2))
        return y_BTD
