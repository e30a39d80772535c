"""Passes: writes to one of eight places by its own token; the gradient goes past the choice."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from move37.nn import ops


class RemembersByBucket(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = max(1, dim // heads)
        inner = heads * self.head_dim
        self.project_places = nn.Linear(dim, 2 * heads * 8)
        self.project_v = nn.Linear(dim, inner)
        self.project_decay = nn.Linear(dim, heads)
        self.project_out = nn.Linear(inner, dim)

    def forward(self, x_BTD: Tensor, documents_BT: Tensor | None = None) -> Tensor:
        q, k = self.project_places(x_BTD).unflatten(-1, (2 * self.heads, 8)).chunk(2, dim=-2)
        v = self.project_v(x_BTD).unflatten(-1, (self.heads, -1))
        log_decay_BTH = F.logsigmoid(self.project_decay(x_BTD))
        o = ops.linear_attention(_chosen(q), _chosen(k), v, log_decay_BTH, documents_BT)
        y_BTD: Tensor = self.project_out(o.flatten(-2))
        return y_BTD


def _chosen(score: Tensor) -> Tensor:
    """Returns a one at the largest score, with the gradient of the softmax."""
    soft = score.softmax(dim=-1)
    hard = F.one_hot(score.argmax(dim=-1), score.shape[-1]).to(soft.dtype)
    return hard + soft - torch.detach(soft)
