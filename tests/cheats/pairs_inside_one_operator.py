"""Caught by sub-quadratic: distances of all pairs of tokens, by an operator of their own."""

import torch
from torch import Tensor, nn


class PairsInsideOneOperator(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.score = nn.Linear(dim, 1)

    def forward(self, x_BTD: Tensor) -> Tensor:
        score_BT1 = self.score(x_BTD)
        near_BTT = (-torch.cdist(score_BT1, score_BT1)).exp().tril()
        count_T1 = torch.arange(1, x_BTD.shape[1] + 1).to(x_BTD)[:, None]
        return self.project(x_BTD) * near_BTT.sum(dim=2, keepdim=True) / count_T1
