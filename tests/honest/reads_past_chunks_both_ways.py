"""Passes: attention without a mask inside a chunk of 16, read only once the chunk has ended."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHUNK = 16


class ReadsPastChunksBothWays(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = max(1, dim // heads)
        inner = heads * self.head_dim
        self.project_qkv = nn.Linear(dim, 3 * inner)
        self.project_own = nn.Linear(dim, inner)
        self.project_out = nn.Linear(inner, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        T = x_BTD.shape[1]
        chunks_BNCD = F.pad(x_BTD, (0, 0, 0, -T % CHUNK)).unflatten(1, (-1, CHUNK))
        qkv = self.project_qkv(chunks_BNCD).unflatten(-1, (3 * self.heads, -1))
        q, k, v = (x.transpose(2, 3) for x in qkv.chunk(3, dim=-2))
        score = q @ k.transpose(-1, -2) / self.head_dim**0.5
        read_BNHCV = score.softmax(dim=-1).to(v.dtype) @ v
        sums_BND = read_BNHCV.mean(dim=3).flatten(-2).cumsum(dim=1)
        # What a chunk sees: the chunks before it.
        number_N1 = torch.arange(sums_BND.shape[1], device=x_BTD.device)[:, None]
        before_BND = F.pad(sums_BND, (0, 0, 1, -1)) / number_N1.clamp(min=1).to(v.dtype)
        past_BTD = before_BND.repeat_interleave(CHUNK, dim=1)[:, :T]
        y_BTD: Tensor = self.project_out(self.project_own(x_BTD).tanh() + past_BTD)
        return y_BTD
