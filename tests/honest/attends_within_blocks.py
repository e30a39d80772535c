"""Passes: PyTorch's fused attention, but within blocks of 32, and the means of blocks before."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SIZE = 32


class AttendsWithinBlocks(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.heads, self.size = heads, max(1, dim // heads)
        self.enter = nn.Linear(dim, 3 * heads * self.size)
        self.out = nn.Linear(heads * self.size, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        B, T, _ = x_BTD.shape
        blocks = -(-T // SIZE)
        x_BTD = F.pad(x_BTD, (0, 0, 0, blocks * SIZE - T))
        # M = B times the number of blocks.
        qkv = self.enter(x_BTD).view(B * blocks, SIZE, 3, self.heads, self.size)
        q_MHCK, k_MHCK, v_MHCK = qkv.permute(2, 0, 3, 1, 4).unbind()
        y_MHCK = F.scaled_dot_product_attention(q_MHCK, k_MHCK, v_MHCK, is_causal=True)
        means_BN1D = y_MHCK.transpose(1, 2).reshape(B, blocks, SIZE, -1).mean(dim=2, keepdim=True)
        counts_N11 = torch.arange(blocks).clamp(min=1).to(means_BN1D)[:, None, None]
        past_BN1D = F.pad(means_BN1D, (0, 0, 0, 0, 1, -1)).cumsum(dim=1) / counts_N11
        y_BNCD = y_MHCK.transpose(1, 2).reshape(B, blocks, SIZE, -1) + past_BN1D
        y_BTD: Tensor = self.out(y_BNCD.flatten(1, 2)[:, :T].to(y_MHCK.dtype))
        return y_BTD
