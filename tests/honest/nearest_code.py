"""Passes: rounds a token to the nearest of eight codes, and counts each code so far."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class NearestCode(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.codes_ND = nn.Parameter(torch.randn(8, dim))
        self.values_ND = nn.Parameter(torch.randn(8, dim))

    def forward(self, x_BTD: Tensor) -> Tensor:
        x_BTD = F.layer_norm(x_BTD, x_BTD.shape[-1:])
        # Squared distances, less the part that no choice changes.
        far_BTN = self.codes_ND.square().sum(dim=-1) - 2 * F.linear(x_BTD, self.codes_ND)
        soft_BTN = F.softmin(far_BTN, dim=-1)
        hard_BTN = torch.zeros_like(soft_BTN).scatter(
            -1, soft_BTN.argmax(dim=-1, keepdim=True), 1.0
        )
        share_BTN = soft_BTN + (hard_BTN - soft_BTN).detach()
        counts_T1 = torch.arange(1, x_BTD.shape[1] + 1).to(share_BTN)[:, None]
        y_BTD: Tensor = (share_BTN.cumsum(dim=1) / counts_T1).to(x_BTD.dtype) @ self.values_ND
        return y_BTD.to(x_BTD.dtype)
