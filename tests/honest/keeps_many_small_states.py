"""Passes: a head for every two channels, whatever the number of heads it is given."""

import torch.nn.functional as F
from torch import Tensor, nn

from move37.nn import ops


class KeepsManySmallStates(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.states = heads * max(1, dim // (2 * heads))
        self.project_qkv = nn.Linear(dim, 6 * self.states)
        self.project_gates = nn.Linear(dim, 2 * self.states)
        self.project_out = nn.Linear(2 * self.states, dim)

    def forward(self, x_BTD: Tensor, documents_BT: Tensor | None = None) -> Tensor:
        q, k, v = self.project_qkv(x_BTD).unflatten(-1, (self.states, 6)).split(2, dim=-1)
        beta, decay = self.project_gates(x_BTD).chunk(2, dim=-1)
        o = ops.delta_rule(
            F.normalize(q, dim=-1),
            F.normalize(k, dim=-1),
            v.tanh(),
            beta.sigmoid(),
            F.logsigmoid(decay),
            documents_BT,
        )
        y_BTD: Tensor = self.project_out(o.flatten(-2))
        return y_BTD
