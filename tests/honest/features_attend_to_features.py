"""Passes: all pairs and no mask, but of the features of one token; the past is a mean."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class FeaturesAttendToFeatures(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.enter_3H1 = nn.Parameter(torch.randn(3, heads, 1))
        self.mix = nn.Linear(heads, 1)
        self.out = nn.Linear(2 * dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        counts_T1 = torch.arange(1, x_BTD.shape[1] + 1).to(x_BTD)[:, None]
        mean_BTD = (x_BTD.cumsum(dim=1) / counts_T1).to(x_BTD.dtype)
        # Numbers instead of vectors: each head has a query, a key and a value for a feature.
        q_BTDH, k_BTDH, v_BTDH = (
            x_BTD[..., None] * weight_H1.squeeze(-1) for weight_H1 in self.enter_3H1.unbind()
        )
        pairs = F.normalize(q_BTDH, dim=2) @ F.normalize(k_BTDH, dim=2).mT
        h_BTD = self.mix(pairs.softmax(dim=-1) @ v_BTDH).squeeze(-1)
        y_BTD: Tensor = self.out(torch.cat([h_BTD, mean_BTD.to(h_BTD.dtype)], dim=-1))
        return y_BTD
