"""Honest: the delta rule with a decay for each key channel, for fla's interface.

While it trains, the operator computes the decays; else the layer does, by the same function.
"""
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
from fla.modules import FusedRMSNormGated
from fla.modules.feature_map import HedgehogFeatureMap
from fla.ops.kda import chunk_kda, fused_recurrent_kda
from fla.ops.kda.gate import fused_kda_gate
from torch import nn

if TYPE_CHECKING:
    from fla.models.utils import Cache


class GatesOfChannels(nn.Module):
    def __init__(
        self,
        hidden_size: int = 1024,
        num_attention_heads: int = 8,
        head_k_dim: int = 128,
        lower_bound: float | None = None,
        layer_idx: int = 0,
    ) -> None:
        super().__init__()
        self.num_heads = num_attention_heads
        self.lower_bound = lower_bound
        self.layer_idx = layer_idx
        key_dim = num_attention_heads * head_k_dim
        self.q_proj = nn.Linear(hidden_size, key_dim, bias=False)
        self.k_proj = nn.Linear(hidden_size, key_dim, bias=False)
        self.v_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.f_proj = nn.Linear(hidden_size, 2 * key_dim, bias=False)  # the map doubles the keys
        self.b_proj = nn.Linear(hidden_size, num_attention_heads, bias=False)
        self.g_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.feature_map = HedgehogFeatureMap(head_k_dim)
        self.A_log = nn.Parameter(torch.zeros(num_attention_heads))
        self.dt_bias = nn.Parameter(torch.zeros(2 * key_dim))
        self.o_norm = FusedRMSNormGated(hidden_size, activation="sigmoid")
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
        projected = (self.q_proj(x), self.k_proj(x), self.v_proj(x), self.f_proj(x))
        q, k, v, g = (rearrange(y, "b t (h d) -> b t h d", h=self.num_heads) for y in projected)
        gate = {"A_log": self.A_log, "dt_bias": self.dt_bias, "lower_bound": self.lower_bound}
        operator, inside = chunk_kda, {**gate, "use_gate_in_kernel": True}
        if not self.training:
            g = fused_kda_gate(g, **gate)
            operator, inside = fused_recurrent_kda, {}
        o, recurrent_state = operator(
            q=self.feature_map(q),
            k=self.feature_map(k),
            v=v,
            g=g,
            beta=self.b_proj(x),
            initial_state=last.get("recurrent_state"),
            output_final_state=use_cache,
            use_qk_l2norm_in_kernel=True,
            use_beta_sigmoid_in_kernel=True,
            state_v_first=True,
            cu_seqlens=cu_seqlens,
            **inside,
        )
        update_layer_cache(self, past_key_values, recurrent_state=recurrent_state, offset=length)
        o = self.o_norm(rearrange(o, "b t h d -> b t (h d)"), self.g_proj(x))
        return repad_hidden_states(self.o_proj(o), indices, batch, length), None, past_key_values
