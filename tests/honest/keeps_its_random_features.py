"""Passes: a random matrix that is never trained, kept in a buffer and so in the state dict."""

import torch
from torch import Tensor, nn

from move37.nn import ops


class KeepsItsRandomFeatures(nn.Module):
    features_HKF: Tensor

    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = max(1, dim // heads)
        inner = heads * self.head_dim
        self.project_qkv = nn.Linear(dim, 3 * inner)
        self.register_buffer("features_HKF", torch.randn(heads, self.head_dim, 16))
        self.norm = nn.RMSNorm(self.head_dim, eps=1e-5)
        self.project_out = nn.Linear(inner, dim)

    def forward(self, x_BTD: Tensor, documents_BT: Tensor | None = None) -> Tensor:
        qkv = self.project_qkv(x_BTD).unflatten(-1, (3 * self.heads, -1))
        q, k, v = qkv.chunk(3, dim=-2)
        o = ops.linear_attention(self._mapped(q), self._mapped(k), v, None, documents_BT)
        y_BTD: Tensor = self.project_out(self.norm(o).flatten(-2))
        return y_BTD

    def _mapped(self, x_BTHK: Tensor) -> Tensor:
        angle_BTHF = torch.einsum("bthk,hkf->bthf", x_BTHK, self.features_HKF)
        return torch.cat([angle_BTHF.cos(), angle_BTHF.sin()], dim=-1)
