"""Caught by sub-quadratic: linear as it is trained, attention over all pairs as it is used."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class QuadraticInEvalMode(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, 3 * dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.project(x).chunk(3, -1)
        if self.training:
            k = torch.sigmoid(k)
            return v + torch.tanh((k * v).cumsum(1) / (1 + k.cumsum(1)))
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
