"""Passes: mean and variance over time, but of the past only, measured from the first token."""

import torch
from torch import Tensor, nn


class StandardisesByItsPast(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project_in = nn.Linear(dim, heads * dim, bias=False)  # its mean is taken off
        self.gain = nn.Parameter(torch.ones(heads * dim))
        self.project_out = nn.Linear(heads * dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        y_BTC = self.project_in(x_BTD)
        wide = torch.promote_types(y_BTC.dtype, torch.float32)
        # The first token is known to all: beside it, squares lose fewer digits.
        apart_BTC = y_BTC.to(wide) - y_BTC[:, :1].to(wide)
        tokens_T1 = torch.arange(1, x_BTD.shape[1] + 1, device=x_BTD.device, dtype=wide)[:, None]
        mean_BTC = apart_BTC.cumsum(dim=1) / tokens_T1
        variance_BTC = apart_BTC.square().cumsum(dim=1) / tokens_T1 - mean_BTC.square()
        standard_BTC = (apart_BTC - mean_BTC) * (variance_BTC.clamp(min=0) + 1e-3).rsqrt()
        y_BTD: Tensor = self.project_out(standard_BTC.to(y_BTC.dtype) * self.gain)
        return y_BTD
