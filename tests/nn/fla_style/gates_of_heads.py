"""Honest: the gated delta rule, whose operator computes decays and rates, for fla's interface."""
# mypy: ignore-errors

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from einops import rearrange
from fla.layers.utils import (
    get_layer_cache,
    repad_hidden_states,
    unpad_hidden_states,
    update_layer_cache,
)
from fla.modules import RMSNorm
from fla.modules.convolution import causal_conv1d
from fla.modules.layernorm import rms_norm_linear
from fla.ops.gated_delta_rule import chunk_gated_delta_rule
from torch import nn

if TYPE_CHECKING:
    from fla.models.utils import Cache


class GatesOfHeads(nn.Module):
    def __init__(
        self,
        hidden_size: int = 1024,
        num_heads: int = 4,
        conv_size: int = 4,
        allow_neg_eigval: bool = True,
        layer_idx: int = 0,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.allow_neg_eigval = allow_neg_eigval
        self.layer_idx = layer_idx
        self.qkv_proj = nn.Linear(hidden_size, 3 * hidden_size, bias=False)
        self.conv_weight = nn.Parameter(torch.randn(3 * hidden_size, conv_size) / conv_size)
        self.a_proj = nn.Linear(hidden_size, num_heads, bias=False)
        self.b_proj = nn.Linear(hidden_size, num_heads, bias=False)
        self.A_log = nn.Parameter(torch.empty(num_heads).uniform_(1, 16).log())
        self.dt_bias = nn.Parameter(torch.zeros(num_heads))
        self.o_norm = RMSNorm(hidden_size)
        self.o_proj = nn.Linear(hidden_size, hidden_size, bias=False)

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        use_cache: bool | None = False,
        **kwargs,
    ) -> tuple[torch.Tensor, torch.Tensor | None, Cache | None]:
        batch, length, _ = hidden_states.shape
        x, indices, cu_seqlens = unpad_hidden_states(
            hidden_states, kwargs.get("cu_seqlens"), attention_mask, length
        )
        last = get_layer_cache(self, past_key_values) or {}
        qkv, conv_state = causal_conv1d(
            x=self.qkv_proj(x),
            weight=self.conv_weight,
            initial_state=last.get("conv_state"),
            output_final_state=use_cache,
            activation="silu",
            cu_seqlens=cu_seqlens,
        )
        q, k, v = rearrange(qkv, "b t (n h d) -> n b t h d", n=3, h=self.num_heads)
        o, recurrent_state = chunk_gated_delta_rule(
            q=q,
            k=k,
            v=v,
            g=self.a_proj(x),
            beta=self.b_proj(x),
            A_log=self.A_log,
            dt_bias=self.dt_bias,
            initial_state=last.get("recurrent_state"),
            output_final_state=use_cache,
            use_qk_l2norm_in_kernel=True,
            use_gate_in_kernel=True,
            use_beta_sigmoid_in_kernel=True,
            allow_neg_eigval=self.allow_neg_eigval,
            state_v_first=True,
            cu_seqlens=cu_seqlens,
        )
        states = {"recurrent_state": recurrent_state, "conv_state": conv_state}
        update_layer_cache(self, past_key_values, **states, offset=length)
        o = rearrange(o, "b t h d -> b t (h d)")
        o = rms_norm_linear(o, self.o_norm.weight, None, self.o_proj.weight, None)
        return repad_hidden_states(o, indices, batch, length), None, past_key_values
