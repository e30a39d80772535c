"""Passes: softmax over the last 16 tokens beside linear attention over all, in one output."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from move37.nn import ops


class AttendsNearbyAndSumsUpTheRest(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = max(1, dim // heads)
        inner = heads * self.head_dim
        self.project_qkv = nn.Linear(dim, 3 * inner)
        self.bias_HW = nn.Parameter(torch.zeros(heads, 16))
        self.decay = nn.Parameter(torch.linspace(1, 5, heads))
        self.share = nn.Linear(dim, heads)
        self.norm = nn.RMSNorm(self.head_dim, eps=1e-5)
        self.project_out = nn.Linear(inner, dim)

    def forward(self, x_BTD: Tensor, documents_BT: Tensor | None = None) -> Tensor:
        qkv = self.project_qkv(x_BTD).unflatten(-1, (3 * self.heads, -1))
        q_BTHK, k_BTHK, v_BTHV = qkv.chunk(3, dim=-2)
        near = ops.sliding_window_attention(q_BTHK, k_BTHK, v_BTHV, self.bias_HW, documents_BT)
        log_decay_BTH = F.logsigmoid(self.decay).to(x_BTD.dtype).expand(*x_BTD.shape[:2], -1)
        far = ops.linear_attention(
            F.normalize(q_BTHK, dim=-1),
            F.normalize(k_BTHK, dim=-1),
            v_BTHV,
            log_decay_BTH,
            documents_BT,
        )
        share_BTH1 = self.share(x_BTD).sigmoid()[..., None]
        o_BTHV = share_BTH1 * near + (1 - share_BTH1) * self.norm(far)
        y_BTD: Tensor = self.project_out(o_BTHV.flatten(-2))
        return y_BTD
