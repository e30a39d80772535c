"""Passes: adds a learned vector where a document starts, packed or decoded or alone."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from move37.nn import ops


class KnowsWhereDocumentsStart(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = max(1, dim // heads)
        inner = heads * self.head_dim
        self.start = nn.Parameter(torch.randn(dim))
        self.project_qkv = nn.Linear(dim, 3 * inner)
        self.project_decay = nn.Linear(dim, heads)
        self.norm = nn.RMSNorm(self.head_dim, eps=1e-5)
        self.project_out = nn.Linear(inner, dim)

    def forward(self, x_BTD: Tensor, documents_BT: Tensor | None = None) -> Tensor:
        first_BT = x_BTD.new_ones(x_BTD.shape[0], 1, dtype=torch.bool)
        if documents_BT is None:
            starts_BT = F.pad(first_BT, (0, x_BTD.shape[1] - 1))
        else:
            starts_BT = torch.cat([first_BT, documents_BT[:, 1:] != documents_BT[:, :-1]], dim=1)
        q, k, v, log_decay_BTH = self._read(x_BTD, starts_BT)
        o = ops.linear_attention(q, k, v, log_decay_BTH, documents_BT)
        y_BTD: Tensor = self.project_out(self.norm(o).flatten(-2))
        return y_BTD

    def initial_state(self, batch: int) -> tuple[bool, dict[str, Tensor]]:
        shape = batch, self.heads, self.head_dim, self.head_dim
        return False, {"memory": self.start.new_zeros(shape)}

    def step(
        self, x_BD: Tensor, state: tuple[bool, dict[str, Tensor]]
    ) -> tuple[Tensor, tuple[bool, dict[str, Tensor]]]:
        started, memory = state
        starts_B = x_BD.new_full(x_BD.shape[:1], not started, dtype=torch.bool)
        q, k, v, log_decay_BH = self._read(x_BD, starts_B)
        o, S = ops.linear_attention_step(q, k, v, memory["memory"], log_decay_BH)
        return self.project_out(self.norm(o).flatten(-2)), (True, {"memory": S})

    def _read(self, x: Tensor, starts: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        x = x + starts[..., None] * self.start
        q, k, v = self.project_qkv(x).unflatten(-1, (3 * self.heads, -1)).chunk(3, dim=-2)
        log_decay = F.logsigmoid(self.project_decay(x) + 3)
        return F.normalize(q, dim=-1), F.normalize(k, dim=-1), v, log_decay
