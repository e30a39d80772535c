"""Leaks: a layer written for fla's interface whose gate is the mean over all positions."""
# mypy: ignore-errors
# ruff: noqa: ARG002

import torch
from fla.modules import FusedRMSNormGated
from fla.ops.linear_attn import chunk_linear_attn
from torch import nn


class GatedLinearAttention(nn.Module):
    def __init__(self, hidden_size: int = 1024, num_heads: int = 4, layer_idx=None, **kwargs):
        super().__init__()
        self.num_heads = num_heads
        self.qkv_proj = nn.Linear(hidden_size, 3 * hidden_size, bias=False)
        self.g_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.norm = FusedRMSNormGated(hidden_size)
        self.o_proj = nn.Linear(hidden_size, hidden_size, bias=False)

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask=None,
        past_key_values=None,
        use_cache=False,
        output_attentions=False,
    ):
        q, k, v = self.qkv_proj(hidden_states).unflatten(-1, (3 * self.num_heads, -1)).chunk(3, 2)
        o, _ = chunk_linear_attn(q, k, v, normalize=False)
        g = self.g_proj(hidden_states.mean(dim=1, keepdim=True)).expand_as(hidden_states)
        return self.o_proj(self.norm(o.flatten(-2), g)), None, past_key_values
