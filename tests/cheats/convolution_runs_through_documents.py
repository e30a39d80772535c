"""Caught by documents: the memory starts anew with each document, the convolution does not."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def _since(starts_BT: Tensor, y_BTD: Tensor) -> Tensor:
    """Returns, for each place, the sum since its start."""
    sums_BTD = y_BTD.cumsum(dim=1)
    return sums_BTD - (sums_BTD - y_BTD).gather(1, starts_BT[..., None].expand_as(y_BTD))


def _starts(new_BT: Tensor) -> Tensor:
    """Returns the place of the latest start, given where documents start after the first token."""
    places_BT = torch.arange(1, new_BT.shape[1] + 1).expand_as(new_BT) * new_BT
    return F.pad(places_BT, (1, 0)).cummax(dim=1).values


class ConvolutionRunsThroughDocuments(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.before = nn.Parameter(torch.full((dim,), 0.5))

    def forward(self, x_BTD: Tensor, documents_BT: Tensor | None = None) -> Tensor:
        y_BTD = self.project(x_BTD)
        y_BTD = y_BTD + self.before * F.pad(y_BTD, (0, 0, 1, 0))[:, :-1]
        if documents_BT is None:
            return y_BTD.cumsum(dim=1)
        return _since(_starts(documents_BT[:, 1:] != documents_BT[:, :-1]), y_BTD)
