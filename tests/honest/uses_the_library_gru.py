"""Passes: the recurrent network of PyTorch itself, whose loop over tokens nobody sees."""

from torch import Tensor, nn


class UsesTheLibraryGRU(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        inner = heads * max(1, dim // heads)
        self.network = nn.GRU(dim, inner, batch_first=True)
        self.project_out = nn.Linear(inner, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        h_BTD, _ = self.network(x_BTD)
        y_BTD: Tensor = self.project_out(h_BTD)
        return y_BTD
