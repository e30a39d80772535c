"""Caught by causality: whether a token counts depends on the scores of those to come."""

import torch
from torch import Tensor, nn


class TopKOverTime(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.score = nn.Linear(dim, 1)

    def forward(self, x_BTD: Tensor) -> Tensor:
        score_BT = self.score(x_BTD)[..., 0]
        best_BK = score_BT.topk(1 + x_BTD.shape[1] // 4, dim=1).indices.detach()
        chosen_BT = torch.zeros_like(score_BT).scatter(1, best_BK, 1.0)
        return self.project(x_BTD) * (chosen_BT * score_BT.sigmoid())[..., None]
