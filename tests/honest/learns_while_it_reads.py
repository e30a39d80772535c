"""Passes: takes gradients in its forward, of a loss over the tokens of a chunk that has ended."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHUNK = 16


class LearnsWhileItReads(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = max(1, dim // heads)
        inner = heads * self.head_dim
        self.project_qkv = nn.Linear(dim, 3 * inner)
        self.first_HKV = nn.Parameter(torch.randn(heads, self.head_dim, self.head_dim) / 4)
        self.project_out = nn.Linear(inner, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        qkv = self.project_qkv(x_BTD).unflatten(-1, (3 * self.heads, -1)).transpose(1, 2)
        q, k, v = qkv.chunk(3, dim=1)
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        W_BHKV = self.first_HKV.to(q.dtype).expand(x_BTD.shape[0], -1, -1, -1)
        outputs = []
        for q_n, k_n, v_n in zip(*(x.split(CHUNK, dim=2) for x in (q, k, v)), strict=True):
            outputs.append(q_n @ W_BHKV)
            if k_n.shape[2] == CHUNK:  # no one reads what a last part teaches
                W_BHKV = W_BHKV - torch.func.grad(_error)(W_BHKV, k_n, v_n) / CHUNK
        y_BTD: Tensor = self.project_out(torch.cat(outputs, dim=2).transpose(1, 2).flatten(-2))
        return y_BTD


def _error(W_BHKV: Tensor, k_BHCK: Tensor, v_BHCV: Tensor) -> Tensor:
    return 0.5 * (k_BHCK @ W_BHKV - v_BHCV).square().sum()
