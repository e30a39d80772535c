"""Attention over the last 512 tokens, block by block: a window that is wider than short inputs."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class AttendsToHalfAThousandTokens(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.heads, self.window = heads, 512
        self.project_qkv = nn.Linear(dim, 3 * dim)
        self.project_out = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        qkv = self.project_qkv(x_BTD).unflatten(2, (3 * self.heads, -1)).transpose(1, 2)
        q, k, v = (one.split(self.window, dim=2) for one in qkv.chunk(3, dim=1))
        places = torch.arange(x_BTD.shape[1]).split(self.window)
        read = []
        for block, q_BHCK in enumerate(q):
            seen = slice(max(0, block - 1), block + 1)
            age_CS = places[block][:, None] - torch.cat(places[seen])
            read.append(
                F.scaled_dot_product_attention(
                    q_BHCK,
                    torch.cat(k[seen], dim=2),
                    torch.cat(v[seen], dim=2),
                    attn_mask=(age_CS >= 0) & (age_CS < self.window),
                )
            )
        return self.project_out(torch.cat(read, dim=2).transpose(1, 2).flatten(2))
