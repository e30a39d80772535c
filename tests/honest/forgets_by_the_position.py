"""Passes: the decay depends on the place counted from the start, which no later token changes."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from move37.nn import ops


class ForgetsByThePosition(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = max(1, dim // heads)
        inner = heads * self.head_dim
        self.project_qkv = nn.Linear(dim, 3 * inner)
        self.power = nn.Parameter(torch.linspace(0, 3, heads))
        self.norm = nn.RMSNorm(self.head_dim, eps=1e-5)
        self.project_out = nn.Linear(inner, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        B, T, _ = x_BTD.shape
        qkv = self.project_qkv(x_BTD).unflatten(-1, (3 * self.heads, -1))
        q, k, v = qkv.chunk(3, dim=-2)
        # Forgets as a power of time: the older, the slower.
        places_T1 = torch.arange(1, T + 1, device=x_BTD.device)[:, None].to(self.power.dtype)
        log_decay_BTH = (-F.softplus(self.power) / places_T1).expand(B, -1, -1).to(v.dtype)
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        o = self.norm(ops.linear_attention(q, k, v, log_decay_BTH))
        y_BTD: Tensor = self.project_out(o.flatten(-2))
        return y_BTD
