"""Caught by repeatable: it changes how exact matrix products are for everyone."""

import torch
from torch import Tensor, nn


class SetsThePrecisionOfProducts(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        count_T1 = torch.arange(1, x_BTD.shape[1] + 1, dtype=x_BTD.dtype)[:, None]
        y_BTD = self.project(x_BTD).cumsum(dim=1) / count_T1
        torch.set_float32_matmul_precision("medium")
        return y_BTD
