"""Passes: a memory of k x k x v, large and of one size whatever the length."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from move37.nn import ops


class MultipliesKeysToTheThirdOrder(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = max(1, dim // heads)
        self.project_qk = nn.Linear(dim, heads * 16)
        self.project_v = nn.Linear(dim, heads * self.head_dim)
        self.norm = nn.RMSNorm(self.head_dim, eps=1e-5)
        self.project_out = nn.Linear(heads * self.head_dim, dim)

    def forward(self, x_BTD: Tensor, documents_BT: Tensor | None = None) -> Tensor:
        q, k = self.project_qk(x_BTD).unflatten(-1, (self.heads, 16)).split(8, dim=-1)
        v_BTHV = self.project_v(x_BTD).unflatten(-1, (self.heads, -1))
        o_BTHV = ops.linear_attention(_squared(q), _squared(k), v_BTHV, None, documents_BT)
        y_BTD: Tensor = self.project_out(self.norm(o_BTHV).flatten(-2))
        return y_BTD


def _squared(x_BTHK: Tensor) -> Tensor:
    """Returns all products of two channels."""
    x_BTHK = F.normalize(x_BTHK, dim=-1)
    return torch.einsum("bthi,bthj->bthij", x_BTHK, x_BTHK).flatten(-2)
