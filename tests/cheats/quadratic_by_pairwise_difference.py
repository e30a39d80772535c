"""Caught by sub-quadratic: no matrix product, but every pair of tokens."""

import torch
from torch import Tensor, nn


class QuadraticByPairwiseDifference(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.score = nn.Linear(dim, 1, bias=False)
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        score_BT1 = self.score(x_BTD)
        distance_BTT = (score_BT1 - score_BT1.transpose(1, 2)).abs()
        causal_TT = torch.ones_like(distance_BTT[0], dtype=torch.bool).tril()
        nearness_BT1 = torch.where(causal_TT, (-distance_BTT).exp(), 0.0).mean(dim=2, keepdim=True)
        share_T1 = torch.arange(1, x_BTD.shape[1] + 1).to(x_BTD)[:, None] / x_BTD.shape[1]
        return self.project(x_BTD) * (nearness_BT1 / share_T1)
