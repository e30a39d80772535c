"""Passes: parallel where it is trained, token by token where it is used, and equal."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from move37.nn import ops


class TakesAnotherFormInTrainMode(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = max(1, dim // heads)
        inner = heads * self.head_dim
        self.project_qkv = nn.Linear(dim, 3 * inner)
        self.project_decay = nn.Linear(dim, heads)
        self.project_out = nn.Linear(inner, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        qkv = self.project_qkv(x_BTD).unflatten(-1, (3 * self.heads, -1))
        q, k, v = qkv.chunk(3, dim=-2)
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        log_decay_BTH = F.logsigmoid(self.project_decay(x_BTD))
        if self.training:
            o = ops.linear_attention(q, k, v, log_decay_BTH)
        else:
            S = q.new_zeros(q.shape[0], self.heads, self.head_dim, self.head_dim)
            outputs = []
            tokens = zip(*(x.unbind(dim=1) for x in (q, k, v, log_decay_BTH)), strict=True)
            for q_t, k_t, v_t, log_decay_t in tokens:
                o, S = ops.linear_attention_step(q_t, k_t, v_t, S, log_decay_t)
                outputs.append(o)
            o = torch.stack(outputs, dim=1)
        y_BTD: Tensor = self.project_out(o.flatten(-2).to(v.dtype))
        return y_BTD
