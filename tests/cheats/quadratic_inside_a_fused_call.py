"""Caught by sub-quadratic: the pairs are hidden inside one operator."""

import torch.nn.functional as F
from torch import Tensor, nn


class QuadraticInsideAFusedCall(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project_qkv = nn.Linear(dim, 3 * dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        q, k, v = (z[:, None] for z in self.project_qkv(x_BTD).chunk(3, dim=-1))
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)[:, 0]
