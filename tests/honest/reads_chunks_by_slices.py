"""Passes: a loop over chunks of 64 that reads x[:, n]: a few per cent of its work, in gradients."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHUNK = 64


class ReadsChunksBySlices(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = max(1, dim // heads)
        inner = heads * self.head_dim
        self.project_qkv = nn.Linear(dim, 3 * inner)
        self.project_out = nn.Linear(inner, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        T = x_BTD.shape[1]
        qkv = F.pad(self.project_qkv(x_BTD), (0, 0, 0, -T % CHUNK))
        qkv = qkv.unflatten(1, (-1, CHUNK)).unflatten(-1, (3 * self.heads, -1)).transpose(2, 3)
        q, k, v = qkv.chunk(3, dim=2)
        memory_BHKV = x_BTD.new_zeros(len(x_BTD), self.heads, self.head_dim, self.head_dim)
        outputs = []
        for n in range(q.shape[1]):
            past_BHCC = (q[:, n] @ k[:, n].mT).tril() / CHUNK
            outputs.append(past_BHCC @ v[:, n] + q[:, n] @ memory_BHKV)
            memory_BHKV = 0.9 * memory_BHKV + k[:, n].mT @ v[:, n] / CHUNK
        o_BTHV = torch.stack(outputs, dim=1).transpose(2, 3).flatten(1, 2)[:, :T]
        y_BTD: Tensor = self.project_out(o_BTHV.flatten(2))
        return y_BTD
