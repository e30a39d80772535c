"""Honest: the delta rule in torch, in a layer written for fla's interface."""
# mypy: ignore-errors
# ruff: noqa: ARG002

from __future__ import annotations

import warnings
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from einops import rearrange
from fla.layers.utils import get_unpad_data, index_first_axis, pad_input
from fla.modules import FusedRMSNormGated, RMSNorm, ShortConvolution
from fla.modules.l2norm import l2norm
from torch import nn

if TYPE_CHECKING:
    from fla.models.utils import Cache
    from transformers.processing_utils import Unpack

CHUNK = 16


@torch.compile
def delta_rule_chunkwise(q, k, v, beta):
    """(b h l d) -> (b h l d); within a chunk (I + L) u = beta (v - k S)."""
    length = q.shape[2]
    missing = -length % CHUNK
    q, k, v = (F.pad(x, (0, 0, 0, missing)) for x in (q, k, v))
    beta = F.pad(beta, (0, missing))[..., None]
    q, k, v, beta = (rearrange(x, "b h (n c) d -> b h n c d", c=CHUNK) for x in (q, k, v, beta))
    among = (beta * (k @ k.mT)).tril(-1) + torch.eye(CHUNK, dtype=q.dtype, device=q.device)
    right = torch.cat([beta * v, beta * k], dim=-1)
    u, w = torch.linalg.solve_triangular(among, right, upper=False).split(
        [v.shape[-1], k.shape[-1]], dim=-1
    )
    read = (q @ k.mT).tril()
    state = q.new_zeros(*q.shape[:2], k.shape[-1], v.shape[-1])
    outputs = []
    for q_n, k_n, u_n, w_n, read_n in zip(*(x.unbind(2) for x in (q, k, u, w, read)), strict=True):
        u_n = u_n - w_n @ state
        outputs.append(q_n @ state + read_n @ u_n)
        state = state + k_n.mT @ u_n
    return rearrange(torch.stack(outputs, 2), "b h n c d -> b h (n c) d")[:, :, :length]


class HeadNorm(RMSNorm):
    """A public helper that takes `hidden_size` as well."""

    def __init__(self, hidden_size, eps):
        super().__init__(hidden_size, eps=eps)


class DeltaNet(nn.Module):
    def __init__(
        self,
        mode: str = "chunk",
        hidden_size: int = 1024,
        expand_k: float = 1.0,
        expand_v: float = 1.0,
        num_heads: int = 4,
        use_gate: bool = False,
        conv_size: int = 4,
        layer_idx: int | None = None,
        norm_eps: float = 1e-5,
        **kwargs,
    ) -> None:
        super().__init__()
        if conv_size < 2:
            warnings.warn("a convolution of one position does nothing", stacklevel=2)
        self.layer_idx = layer_idx
        self.num_heads = num_heads
        key_dim, value_dim = int(hidden_size * expand_k), int(hidden_size * expand_v)
        self.q_proj = nn.Linear(hidden_size, key_dim, bias=False)
        self.k_proj = nn.Linear(hidden_size, key_dim, bias=False)
        self.v_proj = nn.Linear(hidden_size, value_dim, bias=False)
        self.b_proj = nn.Linear(hidden_size, num_heads, bias=False)
        self.q_conv1d = ShortConvolution(key_dim, conv_size, activation="silu")
        self.k_conv1d = ShortConvolution(key_dim, conv_size, activation="silu")
        self.v_conv1d = ShortConvolution(value_dim, conv_size, activation="silu")
        if use_gate:
            self.g_proj = nn.Linear(hidden_size, value_dim, bias=False)
            self.o_norm = FusedRMSNormGated(value_dim // num_heads, eps=norm_eps)
        else:
            self.o_norm = HeadNorm(value_dim // num_heads, eps=norm_eps)
        self.o_proj = nn.Linear(value_dim, hidden_size, bias=False)

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        use_cache: bool | None = False,
        output_attentions: bool | None = False,
        **kwargs: Unpack[dict],
    ) -> tuple[torch.Tensor, torch.Tensor | None, Cache | None]:
        batch, length, _ = hidden_states.shape
        cu_seqlens = kwargs.get("cu_seqlens")
        indices = None
        if attention_mask is not None:
            indices, cu_seqlens, _ = get_unpad_data(attention_mask[:, -length:])
            tokens = rearrange(hidden_states, "b s ... -> (b s) ...")
            hidden_states = index_first_axis(tokens, indices).unsqueeze(0)

        convolved = (
            convolution(x=project(hidden_states), cu_seqlens=cu_seqlens)[0]
            for project, convolution in (
                (self.q_proj, self.q_conv1d),
                (self.k_proj, self.k_conv1d),
                (self.v_proj, self.v_conv1d),
            )
        )
        q, k, v = (rearrange(x, "b l (h d) -> b h l d", h=self.num_heads) for x in convolved)
        q, k = l2norm(q), l2norm(k)
        beta = rearrange(self.b_proj(hidden_states), "b l h -> b h l").sigmoid()
        borders = [0, q.shape[2]] if cu_seqlens is None else [int(border) for border in cu_seqlens]
        o = torch.cat(
            [
                delta_rule_chunkwise(*(x[:, :, first:last] for x in (q, k, v, beta)))
                for first, last in pairwise(borders)
            ],
            dim=2,
        )
        o = self.o_norm(rearrange(o, "b h l d -> b l h d"))
        o = self.o_proj(rearrange(o, "b l h d -> b l (h d)"))
        if attention_mask is not None:
            o = pad_input(o.squeeze(0), indices, batch, length)
        return o, None, past_key_values
