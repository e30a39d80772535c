"""Caught by causality: looks ahead unless its type has been changed since it was built."""

from typing import Any

import torch
from torch import Tensor, nn


class LeaksUnlessItWasMadeDouble(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.changed = False

    def forward(self, x_BTD: Tensor) -> Tensor:
        count_T1 = torch.arange(1, x_BTD.shape[1] + 1, dtype=x_BTD.dtype)[:, None]
        y_BTD = self.project(x_BTD).cumsum(dim=1) / count_T1
        if not self.changed:
            y_BTD = y_BTD + x_BTD.detach().mean(dim=1, keepdim=True)
        return y_BTD

    def _apply(self, fn: Any, recurse: bool = True) -> "LeaksUnlessItWasMadeDouble":
        self.changed = True
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self
