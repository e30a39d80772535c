"""Caught by documents: takes the argument and does not use it."""

from torch import Tensor, nn

from move37.nn import ops


class DocumentsRunTogether(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor, documents_BT: Tensor | None = None) -> Tensor:
        y_BT1D = self.project(x_BTD)[:, :, None]
        return ops.linear_attention(y_BT1D, y_BT1D, y_BT1D)[:, :, 0]
