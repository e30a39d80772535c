"""Caught by documents: borders are heeded where it is used, and not where it is trained."""

import torch
from torch import Tensor, nn


class TrainsAcrossDocuments(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor, documents_BT: Tensor | None = None) -> Tensor:
        y_BTD = self.project(x_BTD)
        before_BTD = torch.cat([torch.zeros_like(y_BTD[:, :1]), y_BTD[:, :-1]], dim=1)
        if documents_BT is not None and not self.training:
            starts_BT = documents_BT[:, 1:] != documents_BT[:, :-1]
            starts_BT = torch.cat([torch.ones_like(starts_BT[:, :1]), starts_BT], dim=1)
            before_BTD = before_BTD.masked_fill(starts_BT[..., None], 0)
        return y_BTD + 0.5 * before_BTD
