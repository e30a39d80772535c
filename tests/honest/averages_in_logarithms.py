"""Passes: a softmax over the whole past without pairs, by two cumulative sums of logarithms."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class AveragesInLogarithms(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = max(1, dim // heads)
        self.score = nn.Linear(dim, heads, bias=False)  # a softmax cancels one
        self.value = nn.Linear(dim, heads * self.head_dim)
        self.project_out = nn.Linear(heads * self.head_dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        score_BTH1 = self.score(x_BTD)[..., None]
        v_BTHV = self.value(x_BTD).unflatten(-1, (self.heads, -1))
        wide = torch.promote_types(v_BTHV.dtype, torch.float32)
        score_BTH1 = score_BTH1.to(wide)
        log_v_BTHV = F.logsigmoid(v_BTHV.to(wide))
        above_BTHV = (score_BTH1 + log_v_BTHV).logcumsumexp(dim=1)
        o_BTHV = (above_BTHV - score_BTH1.logcumsumexp(dim=1)).exp()
        y_BTD: Tensor = self.project_out(o_BTHV.to(v_BTHV.dtype).flatten(-2))
        return y_BTD
