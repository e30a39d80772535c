"""Caught by documents: more than four documents in a row go on from one another."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MOST = 4


class HeedsFourDocumentsOnly(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor, documents_BT: Tensor | None = None) -> Tensor:
        y_BTD = self.project(x_BTD)
        sums_BTD = y_BTD.cumsum(dim=1)
        if documents_BT is None:
            return sums_BTD
        new_BT = documents_BT != F.pad(documents_BT[:, :-1], (1, 0), value=-1)
        new_BT = new_BT & (new_BT.cumsum(dim=1) <= MOST)
        places_T = torch.arange(x_BTD.shape[1])
        starts_BT = (new_BT * places_T).cummax(dim=1).values
        before_BTD = sums_BTD - y_BTD
        return sums_BTD - before_BTD.gather(1, starts_BT[..., None].expand_as(y_BTD))
