"""Caught by repeatable: what was seen before is kept beside the mixer."""

import torch
from torch import Tensor, nn

_SEEN: dict[str, Tensor] = {}


class RemembersInAGlobal(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        y_BTD = self.project(x_BTD) + _SEEN.get("mean", torch.zeros(())).to(x_BTD)
        _SEEN["mean"] = x_BTD.detach().mean()
        return y_BTD
