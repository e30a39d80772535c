"""Caught by sub-quadratic at the full level: pairs of tokens in long sequences only."""

from torch import Tensor, nn


class QuadraticBeyond2048Tokens(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        T, y_BTD = x_BTD.shape[1], self.project(x_BTD)
        if T <= 2048:
            return y_BTD
        return y_BTD * x_BTD.new_ones(T, 1).expand(T, T).mean(dim=1, keepdim=True)
