"""Caught by memory: a number per pair of tokens, out of sight until it is computed again."""

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def _weighted(y_BTD: Tensor) -> Tensor:
    T = y_BTD.shape[1]
    ones_T = y_BTD.new_empty(T, T).diagonal()
    ones_T.fill_(1.0)
    return y_BTD * ones_T[:, None]


class QuadraticMemoryUnderCheckpointing(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        y_BTD: Tensor = checkpoint(_weighted, self.project(x_BTD), use_reentrant=False)
        return y_BTD
