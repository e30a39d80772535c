"""Passes: the size of its chunks is an option, on which only the speed depends."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class TakesAnySizeOfChunk(nn.Module):
    def __init__(self, dim: int, *, heads: int, chunk: int = 24) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = max(1, dim // heads)
        self.chunk = chunk
        inner = heads * self.head_dim
        self.project_qkv = nn.Linear(dim, 3 * inner)
        self.norm = nn.RMSNorm(self.head_dim, eps=1e-5)
        self.project_out = nn.Linear(inner, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        qkv = self.project_qkv(x_BTD).unflatten(-1, (3 * self.heads, -1)).transpose(1, 2)
        q, k, v = qkv.chunk(3, dim=1)
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        S_BHKV = q.new_zeros(*q.shape[:2], self.head_dim, self.head_dim)
        outputs = []
        for q_n, k_n, v_n in zip(*(x.split(self.chunk, dim=2) for x in (q, k, v)), strict=True):
            outputs.append(q_n @ S_BHKV + (q_n @ k_n.transpose(-1, -2)).tril() @ v_n)
            S_BHKV = S_BHKV + k_n.transpose(-1, -2) @ v_n
        o_BTHV = torch.cat(outputs, dim=2).transpose(1, 2)
        y_BTD: Tensor = self.project_out(self.norm(o_BTHV).flatten(-2))
        return y_BTD
