"""Caught by independence: at each place, an expert takes the best half of the rows."""

import torch
from torch import Tensor, nn


class ExpertsChooseOverTheBatch(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.score = nn.Linear(dim, 1)

    def forward(self, x_BTD: Tensor) -> Tensor:
        score_BT = self.score(x_BTD)[..., 0]
        best_KT = score_BT.topk((x_BTD.shape[0] + 1) // 2, dim=0).indices.detach()
        chosen_BT = torch.zeros_like(score_BT).scatter(0, best_KT, 1.0)
        return self.project(x_BTD) * (1 + chosen_BT * score_BT.sigmoid())[..., None]
