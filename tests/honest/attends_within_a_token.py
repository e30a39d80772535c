"""Passes: softmax over all pairs, but of the heads of one token; a running mean goes between."""

import torch
from torch import Tensor, nn


class AttendsWithinAToken(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.groups = 2 * heads
        self.size = max(1, dim // self.groups)
        inner = self.groups * self.size
        self.project_qkv = nn.Linear(dim, 3 * inner)
        self.project_out = nn.Linear(inner, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        tokens_T11 = torch.arange(1, x_BTD.shape[1] + 1, device=x_BTD.device)[:, None, None]
        qkv = self.project_qkv(x_BTD).unflatten(-1, (3 * self.groups, -1))
        q, k, v = qkv.chunk(3, dim=-2)
        v = v.cumsum(dim=1) / tokens_T11.to(v.dtype)
        o = (q @ k.transpose(-1, -2) / self.size**0.5).softmax(dim=-1).to(v.dtype) @ v
        y_BTD: Tensor = self.project_out(o.flatten(-2))
        return y_BTD
