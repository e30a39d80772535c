"""Caught by padding: the sum leaves out what is masked, the count below it does not."""

import torch
from torch import Tensor, nn


class MeanCountsThePadding(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor, mask_BT: Tensor | None = None) -> Tensor:
        y_BTD = self.project(x_BTD)
        if mask_BT is not None:
            y_BTD = y_BTD * mask_BT.to(y_BTD)[..., None]
        count_T1 = torch.arange(1, x_BTD.shape[1] + 1).to(y_BTD)[:, None]
        return y_BTD.cumsum(dim=1) / count_T1
