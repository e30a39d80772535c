"""Passes: tables of angles are kept, once for each length and type; no call changes them."""

import torch
from torch import Tensor, nn

from move37.nn import ops


class KeepsItsRotaryTables(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.turns_dim = max(1, dim // heads // 2)
        inner = 2 * heads * self.turns_dim
        self.project_qkv = nn.Linear(dim, 3 * inner)
        self.bias_HW = nn.Parameter(torch.zeros(heads, 32))
        self.project_out = nn.Linear(inner, dim)
        self.tables: dict[tuple[int, str], tuple[Tensor, Tensor]] = {}

    def forward(self, x_BTD: Tensor, documents_BT: Tensor | None = None) -> Tensor:
        qkv = self.project_qkv(x_BTD).unflatten(-1, (3 * self.heads, -1))
        q, k, v = qkv.chunk(3, dim=-2)
        cos, sin = self._table(q)
        q, k = (_turned(x, cos, sin) for x in (q, k))
        o = ops.sliding_window_attention(q, k, v, self.bias_HW, documents_BT)
        y_BTD: Tensor = self.project_out(o.flatten(-2))
        return y_BTD

    def _table(self, like_BTHK: Tensor) -> tuple[Tensor, Tensor]:
        T, device = like_BTHK.shape[1], like_BTHK.device
        key = T, f"{like_BTHK.dtype} {device}"
        if key not in self.tables:
            wide = torch.promote_types(like_BTHK.dtype, torch.float32)
            rate_K = 10000.0 ** (
                -torch.arange(self.turns_dim, device=device, dtype=wide) / self.turns_dim
            )
            places_T11 = torch.arange(T, device=device, dtype=wide)[:, None, None]
            angle_T1K = places_T11 * rate_K
            self.tables[key] = (
                angle_T1K.cos().to(like_BTHK.dtype),
                angle_T1K.sin().to(like_BTHK.dtype),
            )
        return self.tables[key]


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)
