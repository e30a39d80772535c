"""Layers written for fla's interface: the adapter, and what stands in for fla.

fla's own kernels need a GPU, so each test states the definition that they implement.

Shape letters: B batch, T time, D width, H heads, K key size, V value size, W window.
"""

import importlib
import math
import re
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from move37.nn.interop import (
    NoStandIn,
    PackingFlaMixer,
    adapt,
    modules,
    operators,
    stand_down,
    stand_in,
    stand_ins,
)
from move37.verify.subject import offers_documents, offers_mask

B, T, H, K, V, D = 2, 63, 3, 5, 4, 6
CU_SEQLENS = torch.tensor([0, 1, 20, 22, 63], dtype=torch.int32)
FLA_STYLE = Path(__file__).parent / "fla_style"
HONEST = FLA_STYLE / "delta_net.py"


@pytest.fixture
def standing_in() -> Iterator[None]:
    stand_in(although_usable=True)
    yield
    stand_down()


def draw(*shape: int, seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=rng, dtype=torch.float64)


def redrawn(module: Any) -> Any:
    """The module in float64, with weights that are far from their start."""
    module = module.double()
    with torch.no_grad():
        for n, parameter in enumerate(module.parameters()):
            parameter.copy_(draw(*parameter.shape, seed=n + 1))
    return module


def close(actual: Any, expected: Any) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)


def shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}


# ---------------------------------------------------------------- norms


def rms(x: Tensor, eps: float = 1e-5) -> Tensor:
    return x / (x.square().mean(dim=-1, keepdim=True) + eps).sqrt()


def centred(x: Tensor) -> Tensor:
    return rms(x - x.mean(dim=-1, keepdim=True))


class TestNorms:
    def test_rms_norm_divides_by_the_root_of_the_mean_square(self) -> None:
        norm, x = redrawn(modules.RMSNorm(D, bias=True)), draw(B, T, D)
        close(norm(x), rms(x) * norm.weight + norm.bias)

    def test_layer_norm_divides_by_the_deviation(self) -> None:
        norm, x = redrawn(modules.LayerNorm(D)), draw(B, T, D)
        close(norm(x), centred(x) * norm.weight)

    @pytest.mark.parametrize("is_rms_norm", [True, False])
    def test_group_norm_norms_each_group_of_channels(self, is_rms_norm: bool) -> None:
        norm = redrawn(modules.GroupNorm(3, D, is_rms_norm=is_rms_norm))
        x = draw(B, T, D)
        one = rms if is_rms_norm else centred
        close(norm(x), torch.cat([one(part) for part in x.chunk(3, dim=-1)], -1) * norm.weight)

    @pytest.mark.parametrize(
        ("activation", "act"), [("swish", F.silu), ("silu", F.silu), ("sigmoid", torch.sigmoid)]
    )
    def test_gated_rms_norm_multiplies_by_the_activated_gate(
        self, activation: str, act: Any
    ) -> None:
        norm = redrawn(modules.FusedRMSNormGated(D, activation=activation))
        x, g = draw(B, T, D), draw(B, T, D, seed=1)
        close(norm(x, g), rms(x) * norm.weight * act(g))

    def test_gated_layer_norm_multiplies_by_the_activated_gate(self) -> None:
        norm = redrawn(modules.FusedLayerNormSwishGate(D, bias=True))
        x, g = draw(B, T, D), draw(B, T, D, seed=1)
        close(norm(x, g), (centred(x) * norm.weight + norm.bias) * F.silu(g))

    def test_the_older_name_is_the_gated_norm_with_swish(self) -> None:
        x, g = draw(B, T, D), draw(B, T, D, seed=1)
        old = redrawn(modules.FusedRMSNormSwishGate(D))
        close(old(x, g), redrawn(modules.FusedRMSNormGated(D, activation="swish"))(x, g))

    def test_gated_norm_with_linear_applies_the_map_that_it_is_given(self) -> None:
        norm = redrawn(modules.FusedRMSNormSwishGateLinear(D))
        x, g, weight, bias = draw(B, T, D), draw(B, T, D, seed=1), draw(7, D), draw(7)
        close(norm(x, g, weight, bias), (rms(x) * norm.weight * F.silu(g)) @ weight.T + bias)

    def test_prenorm_also_returns_the_sum_with_the_residual(self) -> None:
        norm = redrawn(modules.RMSNorm(D))
        x, residual = draw(B, T, D), draw(B, T, D, seed=1)
        y, total = norm(x, residual=residual, prenorm=True)
        close(total, x + residual)
        close(y, rms(x + residual) * norm.weight)

    def test_half_precision_is_normed_in_single_precision(self) -> None:
        x = 300 * draw(B, T, D).half()  # its square is no half-precision number
        y = modules.RMSNorm(D, dtype=torch.float32)(x)
        assert y.dtype == torch.float16
        torch.testing.assert_close(y, rms(x.float()).half())

    @pytest.mark.parametrize("length", [0.0, 1e-4, 1.0])
    def test_l2norm_adds_eps_to_the_square_of_the_length(self, length: float) -> None:
        x = F.normalize(draw(B, T, D), dim=-1) * length
        close(modules.l2norm(x, eps=1e-6), x / math.sqrt(length**2 + 1e-6))

    def test_norm_with_linear_applies_the_map_that_it_is_given(self) -> None:
        x, scale, weight, bias = draw(B, T, D), draw(D, seed=1), draw(7, D), draw(7)
        y = modules.rms_norm_linear(x, scale, None, weight, bias, eps=1e-5)
        close(y, (rms(x) * scale) @ weight.T + bias)

    def test_norm_with_linear_maps_in_the_precision_of_its_input(self) -> None:
        x, weight = draw(B, T, D).bfloat16(), draw(7, D).float()
        y: Any = modules.rms_norm_linear(x, None, None, weight, None)
        assert y.dtype == torch.bfloat16

    def test_names_and_shapes_of_the_weights_are_those_of_fla(self) -> None:
        assert shapes(modules.RMSNorm(D)) == {"weight": (D,)}
        assert shapes(modules.FusedRMSNormGated(D)) == {"weight": (D,)}
        assert shapes(modules.GroupNorm(2, D, bias=True)) == {"weight": (D,), "bias": (D,)}
        assert shapes(modules.LayerNorm(D, elementwise_affine=False)) == {}

    def test_an_unknown_gate_is_named(self) -> None:
        with pytest.raises(ValueError, match="got tanh"):
            modules.FusedRMSNormGated(D, activation="tanh")


# ---------------------------------------------------------------- activations, feature maps


def test_swiglu_rounds_once() -> None:
    x, y = draw(B, T, D).bfloat16(), draw(B, T, D, seed=1).bfloat16()
    expected = (F.silu(x.float()) * y.float()).bfloat16()
    assert torch.equal(modules.swiglu(x, y), expected)


def test_logsigmoid_rounds_once() -> None:
    x = draw(B, T, D).bfloat16()
    expected = (F.logsigmoid(x.float()) / 3).bfloat16()
    assert torch.equal(modules.logsigmoid(x, temperature=3), expected)


class TestFeatureMaps:
    def test_hadamard_multiplies_two_linear_maps(self) -> None:
        features, x = redrawn(modules.HadamardFeatureMap(K)), draw(B, T, H, K)
        close(features(x), features.layer1(x) * features.layer2(x))

    def test_hedgehog_starts_from_the_input_itself(self) -> None:
        x = draw(B, T, H, K)
        expected = torch.cat([2 * x, -2 * x], dim=-1).softmax(dim=-1)
        close(modules.HedgehogFeatureMap(K).double()(x), expected)

    def test_t2r_is_the_positive_part_of_a_linear_map(self) -> None:
        features, x = redrawn(modules.T2RFeatureMap(K, V)), draw(B, T, H, K)
        close(features(x), (x @ features.layer.weight.T).clamp(min=0))
        assert shapes(features) == {"layer.weight": (V, K)}

    def test_dpfp_multiplies_neighbours(self) -> None:
        x = torch.tensor([2.0, -3.0])  # r = (2, 0, -2, 0); turned by one and by two channels
        assert modules.DPFPFeatureMap(2, nu=2)(x).tolist() == [0, 0, 0, 0, -4, 0, -4, 0]


# ---------------------------------------------------------------- convolution, positions


def convolved(x_BTD: Tensor, weight_D1W: Tensor) -> Tensor:
    """y_t = sum over w of weight[w] x_{t - (W - 1) + w}."""
    y_BTD = torch.zeros_like(x_BTD)
    W = weight_D1W.shape[-1]
    for t in range(x_BTD.shape[1]):
        for w in range(W):
            if t - (W - 1) + w >= 0:
                y_BTD[:, t] += weight_D1W[:, 0, w] * x_BTD[:, t - (W - 1) + w]
    return y_BTD


class TestShortConvolution:
    W = 4

    def build(self, **changes: Any) -> Any:
        return redrawn(modules.ShortConvolution(D, self.W, **changes))

    @torch.no_grad()
    def test_newest_input_meets_the_last_weight(self) -> None:
        convolution, x = self.build(bias=True), draw(B, T, D)
        y, cache = convolution(x)
        close(y, F.silu(convolved(x, convolution.weight) + convolution.bias))
        assert cache is None

    @torch.no_grad()
    def test_without_activation_it_is_linear(self) -> None:
        convolution, x = self.build(activation=None), draw(B, 2, D)  # shorter than the window
        close(convolution(x)[0], convolved(x, convolution.weight))

    @torch.no_grad()
    def test_packed_sequences_equal_each_alone(self) -> None:
        convolution, x = self.build(), draw(1, T, D)
        packed, cache = convolution(x, cu_seqlens=CU_SEQLENS, output_final_state=True)
        apart = [
            convolution(x[:, first:last], output_final_state=True)
            for first, last in pairwise(CU_SEQLENS.tolist())
        ]
        close(packed, torch.cat([y for y, _ in apart], dim=1))
        close(cache, torch.cat([one for _, one in apart]))

    @torch.no_grad()
    def test_a_cache_goes_on_where_the_last_call_ended(self) -> None:
        convolution, x = self.build(), draw(B, T, D)
        whole, last = convolution(x, output_final_state=True)
        first, cache = convolution(x[:, :2], output_final_state=True)
        second, again = convolution(x[:, 2:], cache=cache, output_final_state=True)
        close(torch.cat([first, second], dim=1), whole)
        close(again, last)
        close(last, x[:, -self.W :].mT)

    @torch.no_grad()
    def test_packed_sequences_go_on_each_from_its_own_cache(self) -> None:
        convolution, x = self.build(), draw(1, T, D)
        caches = draw(4, D, self.W)
        packed, _ = convolution(x, cu_seqlens=CU_SEQLENS, cache=caches)
        apart = [
            convolution(x[:, first:last], cache=caches[n : n + 1].clone())[0]
            for n, (first, last) in enumerate(pairwise(CU_SEQLENS.tolist()))
        ]
        close(packed, torch.cat(apart, dim=1))

    @torch.no_grad()
    def test_a_step_updates_the_cache_in_place(self) -> None:
        convolution, x = self.build(), draw(B, T, D)
        cache = torch.zeros(B, D, self.W, dtype=torch.float64)
        outputs = [convolution(x[:, t : t + 1], cache=cache)[0] for t in range(T)]
        close(torch.cat(outputs, dim=1), convolution(x)[0])

    @torch.no_grad()
    def test_a_mask_clears_inputs(self) -> None:
        convolution, x = self.build(), draw(B, T, D)
        mask = (draw(B, T, seed=1) > 0).double()
        close(convolution(x, mask=mask)[0], convolution(x * mask[..., None])[0])

    def test_names_and_shapes_of_the_weights_are_those_of_fla(self) -> None:
        expected = {"weight": (D, 1, self.W), "bias": (D,)}
        assert shapes(modules.ShortConvolution(D, self.W, bias=True)) == expected

    def test_packed_sequences_in_two_rows_are_refused(self) -> None:
        with pytest.raises(ValueError, match="batch size is 1, got 2"):
            self.build()(draw(2, T, D), cu_seqlens=CU_SEQLENS)

    @torch.no_grad()
    def test_half_precision_is_rounded_once(self) -> None:
        convolution = self.build(bias=True).bfloat16()
        x, residual = draw(B, T, D).bfloat16(), draw(B, T, D, seed=1).bfloat16()
        y, cache = convolution(x, residual=residual, output_final_state=True)
        weight, bias = convolution.weight.float(), convolution.bias.float()
        expected = F.silu(convolved(x.float(), weight) + bias) + residual.float()
        torch.testing.assert_close(y, expected.bfloat16(), rtol=0.004, atol=1e-6)  # one last digit
        assert (y == expected.bfloat16()).float().mean() > 0.99
        assert cache.dtype == torch.bfloat16

    @torch.no_grad()
    def test_the_function_is_the_module_with_the_weights_it_is_given(self) -> None:
        convolution, x, cache = self.build(bias=True), draw(B, T, D), draw(B, D, self.W, seed=9)
        weight, bias = convolution.weight[:, 0], convolution.bias
        options: dict[str, Any] = {"output_final_state": True, "activation": "silu"}
        got = modules.causal_conv1d(x, weight, bias, initial_state=cache, **options)
        close(got, convolution(x, cache=cache.clone(), output_final_state=True))

    def test_the_function_is_linear_unless_asked(self) -> None:
        weight, x = draw(D, self.W), draw(B, T, D)
        close(modules.causal_conv1d(x, weight)[0], convolved(x, weight[:, None]))

    def test_sequences_split_over_devices_are_refused(self) -> None:
        with pytest.raises(NotImplementedError, match="causal_conv1d has no cp_context"):
            modules.causal_conv1d(draw(B, T, D), draw(D, self.W), cp_context="here")


class TestRotaryEmbedding:
    def test_a_pair_of_channels_turns_like_a_complex_number(self) -> None:
        rotary, q = modules.RotaryEmbedding(4).double(), draw(B, T, H, 4)
        turned = torch.view_as_complex(torch.stack([q[..., :2], q[..., 2:]], dim=-1))
        place_T11 = torch.arange(T, dtype=torch.float64)[:, None, None]
        angle = place_T11 * torch.tensor([1.0, 0.01], dtype=torch.float64)  # base^(-2 i / 4)
        turned = turned * torch.polar(torch.ones_like(angle), angle)
        both, same = rotary(q, q)
        close(both, torch.cat([turned.real, turned.imag], dim=-1))
        close(both, same)

    def test_packed_sequences_begin_at_position_zero(self) -> None:
        rotary, q = modules.RotaryEmbedding(4).double(), draw(1, T, H, 4)
        packed, _ = rotary(q, q, cu_seqlens=CU_SEQLENS)
        for first, last in pairwise(CU_SEQLENS.tolist()):
            close(packed[:, first:last], rotary(q[:, first:last], q[:, first:last])[0])

    def test_an_offset_shifts_the_positions(self) -> None:
        rotary, q = modules.RotaryEmbedding(4).double(), draw(B, T, H, 4)
        whole = rotary(q, q)[0][:, 7:]
        close(rotary(q[:, 7:], q[:, 7:], seqlen_offset=7)[0], whole)
        close(rotary(q[:, 7:], q[:, 7:], seqlen_offset=torch.tensor([7, 7]))[0], whole)

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_angles_are_exact_in_half_precision(self, dtype: torch.dtype) -> None:
        places, q = 1995, torch.ones(1, 2000, 1, 8, dtype=dtype)
        narrow = modules.RotaryEmbedding(8).to(dtype)(q, q)[0]
        exact = modules.RotaryEmbedding(8)(q.float(), q.float())[0]
        torch.testing.assert_close(narrow[:, places:].float(), exact[:, places:], rtol=0, atol=0.02)

    def test_angles_are_in_half_precision_on_request(self) -> None:
        rotary = modules.RotaryEmbedding(2, pos_idx_in_fp32=False).bfloat16()
        q = torch.ones(1, 2001, 1, 2, dtype=torch.bfloat16)
        turned = rotary(q, q)[0]
        assert torch.equal(turned[:, 1992], turned[:, 1995])  # 1995 is 1992 in bfloat16

    def test_half_precision_is_rounded_once(self) -> None:
        q = draw(1, T, 1, 2).bfloat16()
        (a, b), place = q[..., 0, :].float().unbind(-1), torch.arange(T, dtype=torch.float32)
        cos, sin = place.cos().bfloat16().float(), place.sin().bfloat16().float()
        expected = torch.stack([a * cos - b * sin, a * sin + b * cos], dim=-1).bfloat16()
        assert torch.equal(modules.RotaryEmbedding(2)(q, q)[0][..., 0, :], expected)

    def test_its_frequencies_come_back_with_reset_parameters(self) -> None:
        rotary, fresh = modules.RotaryEmbedding(8), modules.RotaryEmbedding(8)
        rotary.inv_freq.zero_()
        rotary.reset_parameters()
        close(rotary.inv_freq, fresh.inv_freq)

    def test_it_has_no_weights(self) -> None:
        assert shapes(modules.RotaryEmbedding(4)) == {}


class TestPadding:
    mask = torch.tensor([[0, 0, 1, 1, 1], [0, 1, 1, 1, 1]])

    def test_unpadding_says_where_the_tokens_are(self) -> None:
        indices, cu_seqlens, longest = modules.get_unpad_data(self.mask)
        assert indices.tolist() == [2, 3, 4, 6, 7, 8, 9]
        assert cu_seqlens.tolist() == [0, 3, 7]
        assert cu_seqlens.dtype == torch.int32
        assert longest == 4

    def test_padding_undoes_unpadding(self) -> None:
        x = draw(2, 5, D)
        indices, _, _ = modules.get_unpad_data(self.mask)
        tokens = modules.index_first_axis(x.flatten(0, 1), indices)
        close(modules.pad_input(tokens, indices, 2, 5), x * self.mask[..., None])

    def test_hidden_states_are_packed_into_one_row_and_put_back(self) -> None:
        x = draw(2, 5, D)
        packed, indices, cu_seqlens = modules.unpad_hidden_states(x, None, self.mask, 5)
        assert packed.shape == (1, 7, D)
        assert cu_seqlens is not None
        close(modules.repad_hidden_states(packed, indices, 2, 5), x * self.mask[..., None])

    def test_given_borders_come_before_the_mask(self) -> None:
        x = draw(1, T, D)
        same, indices, cu_seqlens = modules.unpad_hidden_states(x, CU_SEQLENS, self.mask, T)
        assert same is x
        assert indices is None
        assert cu_seqlens is CU_SEQLENS

    def test_queries_and_states_are_unpadded_together(self) -> None:
        q, k = draw(2, 5, H, K), draw(2, 5, H, K, seed=1)
        both, (states,), indices, _, longest = modules.unpad_input((q, q), (k,), self.mask, 5)
        assert len(both) == 2
        close(states, k.flatten(0, 1)[indices])
        assert longest == (4, 4)

    def test_one_query_a_row_is_decoding(self) -> None:
        q, k = draw(2, 1, H, K), draw(2, 5, H, K, seed=1)
        one, _, _, (cu_seqlens_q, cu_seqlens_k), _ = modules.unpad_input(q, (k,), self.mask, 1)
        assert one.shape == (2, H, K)
        assert cu_seqlens_q.tolist() == [0, 1, 2]
        assert cu_seqlens_k.tolist() == [0, 3, 7]


def test_a_cache_keeps_the_states_of_each_layer() -> None:
    cache = modules.Cache()
    layer = nn.Identity()
    layer.layer_idx = 0  # type: ignore[assignment]
    assert modules.get_layer_cache(layer, cache) is None
    modules.update_layer_cache(layer, cache, recurrent_state="S", offset=5)
    kept = modules.get_layer_cache(layer, cache)
    assert kept is not None
    assert kept["recurrent_state"] == "S"
    assert cache.get_seq_length() == 5


# ---------------------------------------------------------------- operators


def recurrence(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor | None = None,
    decay: Tensor | None = None,
    S: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Per position: S <- exp(decay) S; what is stored for k; o = S^T q / sqrt(K). S is (K, V)."""
    if S is None:
        S = q.new_zeros(*q.shape[:1], *v.shape[2:3], q.shape[-1], v.shape[-1])
    outputs = []
    for t in range(q.shape[1]):
        if decay is not None:
            forget = decay[:, t].exp()
            S = S * (forget[..., None] if forget.ndim == 3 else forget[..., None, None])
        new = v[:, t]
        if beta is not None:
            recalled = torch.einsum("bhkv,bhk->bhv", S, k[:, t])
            new = beta[:, t, :, None] * (v[:, t] - recalled)
        S = S + torch.einsum("bhk,bhv->bhkv", k[:, t], new)
        outputs.append(torch.einsum("bhkv,bhk->bhv", S, q[:, t]) / q.shape[-1] ** 0.5)
    return torch.stack(outputs, dim=1), S


def arguments(rows: int = B, times: int = T) -> dict[str, Tensor]:
    """What operators take, by fla's names; g for each head, gk for each key channel."""
    return {
        "q": draw(rows, times, H, K, seed=1),
        "k": F.normalize(draw(rows, times, H, K, seed=2), dim=-1),
        "v": draw(rows, times, H, V, seed=3),
        "beta": draw(rows, times, H, seed=4).sigmoid(),
        "g": F.logsigmoid(draw(rows, times, H, seed=5)),
        "gk": F.logsigmoid(draw(rows, times, H, K, seed=6)),
    }


# Each operator with the arguments it takes: theirs, then ours in `recurrence`.
RETENTION = (1 - 2.0 ** (-5 - torch.arange(H, dtype=torch.float64))).log()
OPERATORS: dict[str, tuple[Any, dict[str, str], dict[str, Any]]] = {
    "delta rule": (operators.chunk_delta_rule, {"beta": "beta"}, {"beta": "beta"}),
    "delta rule without beta": (operators.chunk_delta_rule, {}, {"beta": 1}),
    "gated delta rule": (
        operators.chunk_gated_delta_rule,
        {"g": "g", "beta": "beta"},
        {"decay": "g", "beta": "beta"},
    ),
    "recurrent gated delta rule": (
        operators.fused_recurrent_gated_delta_rule,
        {"gk": "gk", "beta": "beta"},
        {"decay": "gk", "beta": "beta"},
    ),
    "kda": (operators.chunk_kda, {"g": "gk", "beta": "beta"}, {"decay": "gk", "beta": "beta"}),
    "gla": (operators.chunk_gla, {"g": "gk"}, {"decay": "gk"}),
    "recurrent gla": (operators.fused_recurrent_gla, {"gk": "gk"}, {"decay": "gk"}),
    "simple gla": (operators.chunk_simple_gla, {"g": "g"}, {"decay": "g"}),
    "retention": (operators.chunk_retention, {}, {"decay": "retention"}),
    "linear attention": (operators.fused_recurrent_linear_attn, {}, {}),
}


@pytest.mark.parametrize("name", OPERATORS)
class TestOperators:
    def theirs(self, name: str, given: dict[str, Tensor], **options: Any) -> Any:
        operator, names, _ = OPERATORS[name]
        extra = {argument: given[source] for argument, source in names.items()}
        return operator(given["q"], given["k"], given["v"], **extra, **options)

    def ours(self, name: str, given: dict[str, Tensor], S: Tensor | None = None) -> Any:
        extra = {}
        for argument, source in OPERATORS[name][2].items():
            if source == "retention":
                extra[argument] = RETENTION.expand(*given["g"].shape)
            else:
                extra[argument] = torch.ones_like(given["beta"]) if source == 1 else given[source]
        return recurrence(given["q"], given["k"], given["v"], S=S, **extra)

    def test_output_is_that_of_the_recurrence(self, name: str) -> None:
        o, state = self.theirs(name, arguments())
        close(o, self.ours(name, arguments())[0])
        assert state is None

    def test_states_are_taken_and_returned(self, name: str) -> None:
        S = draw(B, H, K, V, seed=9)
        got = self.theirs(name, arguments(), initial_state=S, output_final_state=True)
        close(got, self.ours(name, arguments(), S))

    def test_packed_sequences_equal_each_alone(self, name: str) -> None:
        given = arguments(rows=1)
        packed, _ = self.theirs(name, given, cu_seqlens=CU_SEQLENS)
        for first, last in pairwise(CU_SEQLENS.tolist()):
            part = {argument: x[:, first:last] for argument, x in given.items()}
            close(packed[:, first:last], self.ours(name, part)[0])

    def test_packed_sequences_have_states_of_their_own(self, name: str) -> None:
        given, S = arguments(rows=1), draw(4, H, K, V, seed=9)
        options = {"initial_state": S, "output_final_state": True}
        packed, states = self.theirs(name, given, cu_seqlens=CU_SEQLENS, **options)
        for n, (first, last) in enumerate(pairwise(CU_SEQLENS.tolist())):
            part = {argument: x[:, first:last] for argument, x in given.items()}
            o, state = self.ours(name, part, S[n : n + 1])
            close(packed[:, first:last], o)
            close(states[n : n + 1], state)

    def test_gradients_are_those_of_the_recurrence(self, name: str) -> None:
        found = []
        for run in (self.theirs, self.ours):
            given = {argument: x.requires_grad_() for argument, x in arguments(1, 7).items()}
            S = draw(1, H, K, V, seed=9).requires_grad_()
            if run == self.theirs:
                o, state = self.theirs(name, given, initial_state=S, output_final_state=True)
            else:
                o, state = self.ours(name, given, S)
            (o.square().sum() + state.square().sum()).backward()
            found.append([x.grad for x in (given["q"], given["k"], given["v"], S)])
        close(*found)

    def test_scale_replaces_the_root_of_the_key_size(self, name: str) -> None:
        o, _ = self.theirs(name, arguments(), scale=1.0)
        close(o, self.ours(name, arguments())[0] * K**0.5)

    def test_an_option_that_is_not_covered_is_named(self, name: str) -> None:
        with pytest.raises(NotImplementedError, match="has no reverse"):
            self.theirs(name, arguments(), reverse=True)

    def test_how_fla_splits_the_work_has_no_effect(self, name: str) -> None:
        plain, _ = self.theirs(name, arguments())
        close(self.theirs(name, arguments(), chunk_size=32, head_first=False)[0], plain)


# Those whose states fla also keeps as (N, H, V, K).
VALUES_FIRST = [name for name in OPERATORS if not name.startswith(("delta", "linear"))]


@pytest.mark.parametrize("option", ["state_v_first", "transpose_state_layout"])
@pytest.mark.parametrize("name", VALUES_FIRST)
def test_states_come_with_values_first_on_request(name: str, option: str) -> None:
    operator, names, _ = OPERATORS[name]
    given, S = arguments(), draw(B, H, K, V, seed=9)
    extra = {argument: given[source] for argument, source in names.items()}
    extra |= {argument: given[argument] for argument in ("q", "k", "v")}
    o, state = operator(**extra, initial_state=S, output_final_state=True)
    options = {option: True, "output_final_state": True}
    close(operator(**extra, initial_state=S.mT, **options), (o, state.mT))
    close(operator(**extra, **{option: True})[0], operator(**extra)[0])


GATED = [operators.chunk_gated_delta_rule, operators.fused_recurrent_gated_delta_rule]
KDA = [operators.chunk_kda, operators.fused_recurrent_kda]


@pytest.mark.parametrize("operator", GATED)
@pytest.mark.parametrize("biased", [True, False])
def test_the_decay_of_a_head_is_computed_inside_on_request(operator: Any, biased: bool) -> None:
    given, A_log, dt_bias = arguments(), draw(H, seed=7), draw(H, seed=8)
    gate = {"use_gate_in_kernel": True, "A_log": A_log, "dt_bias": dt_bias if biased else None}
    q, k, v, g, beta = (given[name] for name in ("q", "k", "v", "g", "beta"))
    decay = -A_log.exp() * F.softplus(g + dt_bias if biased else g)
    o, _ = operator(q, k, v, g=g, beta=beta, **gate)
    close(o, recurrence(q, k, v, beta, decay)[0])


def channel_decay(g: Tensor, A_log: Tensor, dt_bias: Tensor, lower_bound: float | None) -> Tensor:
    rate, g = A_log.exp()[:, None], g + dt_bias.view(H, K)
    if lower_bound is None:
        return -rate * F.softplus(g)
    return lower_bound * torch.sigmoid(rate * g)


@pytest.mark.parametrize("operator", KDA)
@pytest.mark.parametrize("lower_bound", [None, -5.0])
def test_the_decay_of_a_channel_is_computed_inside_on_request(
    operator: Any, lower_bound: float | None
) -> None:
    given, A_log, dt_bias = arguments(), draw(H, seed=7), draw(H * K, seed=8)
    q, k, v, g, beta = (given[name] for name in ("q", "k", "v", "gk", "beta"))
    gate = {"A_log": A_log, "dt_bias": dt_bias, "lower_bound": lower_bound}
    o, _ = operator(q, k, v, g, beta, use_gate_in_kernel=True, **gate)
    close(o, recurrence(q, k, v, beta, channel_decay(g, A_log, dt_bias, lower_bound))[0])


@pytest.mark.parametrize("lower_bound", [None, -5.0])
def test_the_gate_of_a_channel_is_a_function_too(lower_bound: float | None) -> None:
    g, A_log, dt_bias = draw(B, T, H, K), draw(H, seed=7), draw(H * K, seed=8)
    gate = operators.fused_kda_gate(g, A_log, dt_bias, lower_bound=lower_bound)
    close(gate, channel_decay(g, A_log, dt_bias, lower_bound))


def test_a_bounded_gate_needs_no_rate() -> None:
    g = draw(B, T, H, K)
    close(operators.fused_kda_gate(g, lower_bound=-2.0), -2 * torch.sigmoid(g))


def test_a_gate_in_half_precision_is_computed_in_single_precision() -> None:
    g, A_log = draw(B, T, H, K).bfloat16(), draw(H, seed=7).bfloat16()
    gate = operators.fused_kda_gate(g, A_log)
    assert gate.dtype == torch.float32
    close(gate, -A_log.float().exp()[:, None] * F.softplus(g.float()))


@pytest.mark.parametrize("operator", [*GATED, *KDA])
def test_a_gate_without_its_rate_is_refused(operator: Any) -> None:
    given = arguments()
    q, k, v, beta = (given[name] for name in ("q", "k", "v", "beta"))
    g = given["gk"] if operator in KDA else given["g"]
    with pytest.raises(ValueError, match="A_log"):
        operator(q, k, v, g=g, beta=beta, use_gate_in_kernel=True)


@pytest.mark.parametrize("operator", [*GATED, *KDA])
@pytest.mark.parametrize("allow_neg_eigval", [True, False])
def test_beta_goes_through_a_sigmoid_on_request(operator: Any, allow_neg_eigval: bool) -> None:
    given, logits = arguments(), draw(B, T, H, seed=10)
    q, k, v = (given[name] for name in ("q", "k", "v"))
    g = given["gk"] if operator in KDA else given["g"]
    options = {"use_beta_sigmoid_in_kernel": True, "allow_neg_eigval": allow_neg_eigval}
    o, _ = operator(q, k, v, g=g, beta=logits, **options)
    beta = logits.sigmoid() * (2 if allow_neg_eigval else 1)
    close(o, recurrence(q, k, v, beta, g)[0])


@pytest.mark.parametrize("operator", [*GATED, *KDA])
def test_negative_eigenvalues_without_a_sigmoid_are_refused(operator: Any) -> None:
    given = arguments()
    q, k, v, beta = (given[name] for name in ("q", "k", "v", "beta"))
    g = given["gk"] if operator in KDA else given["g"]
    with pytest.raises(ValueError, match=f"{operator.__name__} got allow_neg_eigval without"):
        operator(q, k, v, g=g, beta=beta, allow_neg_eigval=True)


@pytest.mark.parametrize("operator", [*GATED, *KDA, *(found for found, _, _ in OPERATORS.values())])
def test_an_error_names_the_operator_that_was_called(operator: Any) -> None:
    given = arguments()
    gates = {} if operator not in KDA else {"g": given["gk"], "beta": given["beta"]}
    with pytest.raises(NotImplementedError, match=rf"fla's {operator.__name__} has no reverse"):
        operator(given["q"], given["k"], given["v"], **gates, reverse=True)


@pytest.mark.parametrize("output_final_state", [True, False])
@pytest.mark.parametrize("places", [[0, 3, 5], [0, 3, 7], [1, 6], [0, 4, 2, 6], [0, 3, 3, 6], [6]])
def test_packed_sequences_that_do_not_fill_the_row_are_refused(
    places: list[int], output_final_state: bool
) -> None:
    q6, cu_seqlens = draw(1, 6, H, K), torch.tensor(places)
    told = re.escape(f"rise from 0 to 6, the length of the row, got {places}; they are 0 and")
    with pytest.raises(ValueError, match=told):
        operators.chunk_delta_rule(
            q6, q6, q6, cu_seqlens=cu_seqlens, output_final_state=output_final_state
        )


def test_queries_and_keys_are_normed_on_request() -> None:
    given = arguments()
    q, k, v, beta = given["q"], given["k"] * 3, given["v"], given["beta"]
    inside, _ = operators.chunk_delta_rule(q, k, v, beta, use_qk_l2norm_in_kernel=True)
    before, _ = operators.chunk_delta_rule(modules.l2norm(q), modules.l2norm(k), v, beta)
    close(inside, before)


def test_value_heads_share_the_key_heads_in_groups() -> None:
    given = arguments()
    v, beta, g = (torch.cat([given[name]] * 2, dim=2) for name in ("v", "beta", "g"))
    shared, _ = operators.chunk_gated_delta_rule(given["q"], given["k"], v, g, beta)
    q, k = (given[name][:, :, [0, 0, 1, 1, 2, 2]] for name in ("q", "k"))
    close(shared, recurrence(q, k, v, beta, g)[0])


def test_one_decay_for_all_times_is_that_decay_at_each_time() -> None:
    given, gamma_H = arguments(), -draw(H, seed=7).abs()
    q, k, v = given["q"], given["k"], given["v"]
    one, _ = operators.chunk_simple_gla(q, k, v, g_gamma=gamma_H)
    each, _ = operators.chunk_simple_gla(q, k, v, gamma_H.expand(B, T, H))
    close(one, each)


def test_normalized_linear_attention_is_a_weighted_mean_of_the_values() -> None:
    q, k, v = draw(B, T, H, K).abs(), draw(B, T, H, K, seed=1).abs(), draw(B, T, H, V)
    weight_BHTS = torch.einsum("bthk,bshk->bhts", q, k).tril()
    weight_BHTS = weight_BHTS / weight_BHTS.sum(dim=-1, keepdim=True)
    mean = torch.einsum("bhts,bshv->bthv", weight_BHTS, v)
    o, _ = operators.chunk_linear_attn(q, k, v)
    torch.testing.assert_close(o, mean, rtol=1e-8, atol=1e-8)  # fla adds 1e-10 to the divisor


def test_normalized_linear_attention_goes_on_from_both_of_its_states() -> None:
    q, k, v = draw(B, T, H, K).abs(), draw(B, T, H, K, seed=1).abs(), draw(B, T, H, V)
    whole, (S, keys) = operators.chunk_linear_attn(q, k, v, output_final_state=True)
    _, states = operators.chunk_linear_attn(
        q[:, :20], k[:, :20], v[:, :20], output_final_state=True
    )
    rest, again = operators.chunk_linear_attn(
        q[:, 20:], k[:, 20:], v[:, 20:], initial_state=states, output_final_state=True
    )
    close(rest, whole[:, 20:])
    close(again, (S, keys))
    close(keys, k.sum(dim=1, keepdim=True))


# ---------------------------------------------------------------- import fla


@pytest.mark.usefixtures("standing_in")
class TestStandIns:
    @pytest.mark.parametrize("module", stand_ins.STAND_INS)
    def test_every_module_is_imported_under_its_name(self, module: str) -> None:
        found = importlib.import_module(module)
        assert found.__name__ == module
        for name, value in stand_ins.STAND_INS[module].items():
            assert getattr(found, name) is value

    def test_a_name_without_stand_in_says_which_there_are(self) -> None:
        with pytest.raises(NoStandIn, match=r"fla\.modules\.BitLinear has no .*RMSNorm"):
            from fla.modules import BitLinear  # type: ignore[import-not-found]  # noqa: F401

    def test_a_module_without_stand_in_says_which_there_are(self) -> None:
        with pytest.raises(NoStandIn, match=r"fla\.ops\.titans has no .*fla\.ops\.gla"):
            importlib.import_module("fla.ops.titans")

    def test_standing_in_twice_is_standing_in_once(self) -> None:
        stand_in()
        stand_down()
        assert stand_ins._FINDER not in sys.meta_path
        roots = {name.split(".")[0] for name in sys.modules}
        assert roots.isdisjoint({"fla", "flash_attn"})

    def test_activations_of_transformers_are_found(self) -> None:
        activations: Any = importlib.import_module("transformers.activations").ACT2FN
        x = draw(3)
        close(activations["gelu"](x), F.gelu(x))
        close(activations["relu2"](x), F.relu(x) ** 2)

    def test_a_logger_of_transformers_logs_to_nobody(
        self, capfd: pytest.CaptureFixture[str]
    ) -> None:
        logging: Any = importlib.import_module("transformers.utils").logging
        logging.get_logger("layer").warning_once("no kernels")
        assert capfd.readouterr() == ("", "")

    def test_a_model_of_transformers_has_no_stand_in(self) -> None:
        with pytest.raises(NoStandIn, match=r"transformers\.AutoModel has no stand-in"):
            from transformers import AutoModel  # type: ignore[import-not-found]  # noqa: F401


def test_the_real_fla_goes_first_where_it_is_usable(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_down()
    monkeypatch.setattr(stand_ins, "usable", lambda: True)
    stand_in()
    assert stand_ins._FINDER not in sys.meta_path


@pytest.mark.skipif(torch.cuda.is_available(), reason="states what holds without a GPU")
def test_without_a_gpu_the_real_fla_is_not_usable() -> None:
    assert not stand_ins.usable()


# ---------------------------------------------------------------- the adapter


class Plain(nn.Module):
    """A layer without heads that returns its output alone."""

    def __init__(self, hidden_size: int = 8) -> None:
        super().__init__()
        self.project = nn.Linear(hidden_size, hidden_size)

    def forward(self, hidden_states: Tensor) -> Any:
        return self.project(hidden_states)


class InTuple(Plain):
    def __init__(self, hidden_size: int = 8, num_heads: int = 1, head_dim: int = 256) -> None:
        super().__init__(hidden_size)
        self.sizes = (hidden_size, num_heads, head_dim)

    def forward(
        self, hidden_states: Tensor, attention_mask: Tensor | None = None, **kwargs: Any
    ) -> Any:
        assert attention_mask is None
        self.given = kwargs
        return self.project(hidden_states), None, None


class AttentionHeads(Plain):
    def __init__(self, hidden_size: int = 8, num_attention_heads: int = 8) -> None:
        super().__init__(hidden_size)
        self.heads = num_attention_heads


class QueryHeads(Plain):
    def __init__(
        self, hidden_size: int = 8, num_query_heads: int = 8, share_heads: bool = False
    ) -> None:
        del share_heads
        super().__init__(hidden_size)
        self.heads = num_query_heads


class NoHeads(Plain):
    def __init__(
        self, hidden_size: int = 8, use_head_norm: bool = True, head_first: bool = False
    ) -> None:
        del use_head_norm, head_first
        super().__init__(hidden_size)


class TwoHeadSizes(Plain):
    def __init__(
        self,
        hidden_size: int = 8,
        num_heads: int = 1,
        head_k_dim: int = 128,
        head_v_dim: int | None = None,
    ) -> None:
        super().__init__(hidden_size)
        self.sizes = (num_heads, head_k_dim, head_v_dim)


class CountsItsHeads(Plain):
    """Like HGRN2: its own ratio comes before the heads that are asked for."""

    def __init__(
        self, hidden_size: int = 8, num_heads: int | None = None, expand_ratio: int | None = 128
    ) -> None:
        super().__init__(hidden_size)
        self.heads = num_heads if expand_ratio is None else hidden_size // expand_ratio


class TakesBordersByName(Plain):
    def forward(self, hidden_states: Tensor, cu_seqlens: Tensor | None = None) -> Any:
        self.given = cu_seqlens
        return self.project(hidden_states), None, None


class ReadsBorders(Plain):
    def forward(self, hidden_states: Tensor, **kwargs: Any) -> Any:
        self.given = kwargs.get("cu_seqlens")
        return self.project(hidden_states), None, None


class PassesOwnBorders(Plain):
    def forward(self, hidden_states: Tensor, **kwargs: Any) -> Any:
        del kwargs
        q = hidden_states[:, :, None]
        operators.chunk_delta_rule(q, q, q, cu_seqlens=None)
        return self.project(hidden_states), None, None


class LosesTheLast(ReadsBorders):
    def forward(self, hidden_states: Tensor, **kwargs: Any) -> Any:
        del kwargs["cu_seqlens"]
        return self.project(hidden_states)[:, :-1], None, None


class CastsToHalf(Plain):
    """Written for a model in bfloat16."""

    def forward(self, hidden_states: Tensor) -> Any:
        x = hidden_states.float().to(torch.bfloat16)
        return self.project(x.bfloat16().half().to(dtype=torch.bfloat16)), None, None


class ReturnsNothing(Plain):
    def forward(self, hidden_states: Tensor) -> Any:
        del hidden_states
        return None, None, None


class TestAdapter:
    x = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0))

    @pytest.mark.parametrize("kind", [Plain, InTuple])
    def test_output_is_the_tensor(self, kind: type[Plain]) -> None:
        mixer = adapt(kind)(8, 2)
        layer: Any = mixer.layer
        close(mixer(self.x), layer.project(self.x))

    def test_the_layer_gets_its_sizes_as_far_as_it_takes_them(self) -> None:
        layer: Any = adapt(InTuple)(8, 2).layer
        assert layer.sizes == (8, 2, 4)

    def test_heads_are_given_by_another_usual_name(self) -> None:
        layer: Any = adapt(AttentionHeads)(8, 2).layer
        assert layer.heads == 2

    def test_a_number_of_heads_by_an_unknown_name_is_refused(self) -> None:
        told = "QueryHeads takes a number of heads as num_query_heads; expected one of num_heads, "
        with pytest.raises(TypeError, match=told):
            adapt(QueryHeads)

    def test_a_number_of_heads_by_an_unknown_name_may_be_an_option(self) -> None:
        layer: Any = adapt(QueryHeads, {"num_query_heads": 4})(8, 2).layer
        assert layer.heads == 4

    def test_a_layer_without_a_number_of_heads_needs_none(self) -> None:
        assert isinstance(adapt(NoHeads)(8, 2)(self.x), Tensor)

    def test_a_fixed_size_of_a_head_becomes_its_share_of_the_width(self) -> None:
        layer: Any = adapt(TwoHeadSizes)(8, 2).layer
        assert layer.sizes == (2, 4, None)  # None: the layer computes it

    def test_a_layer_that_counts_its_heads_counts_those_that_are_asked_for(self) -> None:
        layer: Any = adapt(CountsItsHeads)(8, 2).layer
        assert layer.heads == 2

    def test_a_number_of_key_heads_becomes_the_heads(self) -> None:
        class Grouped(Plain):
            def __init__(self, hidden_size: int, num_heads: int = 8, num_kv_heads: int = 16):
                super().__init__(hidden_size)
                self.sizes = (num_heads, num_kv_heads)

        mixer: Any = adapt(Grouped)(8, 2)
        assert mixer.layer.sizes == (2, 2)

    def test_heads_of_a_layer_that_expands_are_as_much_wider(self) -> None:
        class Expands(Plain):
            def __init__(
                self, hidden_size: int, num_heads: int = 1, head_dim: int = 9, expand: int = 2
            ):
                del expand
                super().__init__(hidden_size)
                self.sizes = (num_heads, head_dim)

        mixer: Any = adapt(Expands)(8, 2)
        assert mixer.layer.sizes == (2, 8)

    def test_a_layer_that_counts_layers_is_the_first_of_two(self) -> None:
        class First(Plain):
            def __init__(
                self,
                hidden_size: int,
                layer_idx: int | None = None,
                num_hidden_layers: int | None = None,
            ):
                super().__init__(hidden_size)
                self.at = (layer_idx, num_hidden_layers)

        mixer: Any = adapt(First)(8, 2)
        assert mixer.layer.at == (0, 2)

    def test_a_layer_that_has_to_be_given_a_mask_is_given_none(self) -> None:
        class Masked(Plain):
            def forward(  # type: ignore[override]
                self, hidden_states: Tensor, attention_mask: Tensor | None
            ) -> Any:
                assert attention_mask is None
                return self.project(hidden_states)

        mixer = adapt(Masked)(8, 2)
        layer: Any = mixer.layer
        close(mixer(self.x), layer.project(self.x))

    def test_parameters_are_those_of_the_layer(self) -> None:
        assert set(adapt(Plain)(8, 2).state_dict()) == {
            "layer.project.weight",
            "layer.project.bias",
        }

    def test_a_layer_that_takes_a_mask_is_known(self) -> None:
        assert offers_mask(adapt(InTuple)(8, 2))
        assert not offers_mask(adapt(Plain)(8, 2))

    @pytest.mark.parametrize("kind", [TakesBordersByName, ReadsBorders])
    def test_documents_are_offered_by_a_layer_that_reads_borders(self, kind: type[Plain]) -> None:
        mixer = adapt(kind)(8, 2)
        layer: Any = mixer.layer
        assert isinstance(mixer, PackingFlaMixer)
        y = mixer(self.x, torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 2]]))
        assert layer.given.tolist() == [0, 2, 5, 9, 10]
        close(y, layer.project(self.x))

    @pytest.mark.parametrize("kind", [Plain, InTuple, PassesOwnBorders])
    def test_documents_are_not_offered_by_any_other(self, kind: type[Plain]) -> None:
        assert not offers_documents(adapt(kind)(8, 2))

    def test_a_document_ends_where_its_number_or_the_row_changes(self) -> None:
        given: list[Tensor] = []

        class Listens(nn.Module):
            def __init__(self, hidden_size: int) -> None:
                super().__init__()
                self.width = hidden_size

            def forward(self, hidden_states: Tensor, cu_seqlens: Tensor) -> tuple[Tensor, None]:
                given.append(cu_seqlens)
                return hidden_states, None

        adapt(Listens)(8, 2)(torch.zeros(2, 3, 8), torch.tensor([[3, 3, 3], [3, 4, 3]]))
        (found,) = given
        assert found.tolist() == [0, 3, 4, 5, 6]
        assert found.dtype == torch.int32

    def test_a_cast_to_half_precision_is_left_out_in_a_wider_model(self) -> None:
        mixer = adapt(CastsToHalf)(8, 2)
        layer: Any = mixer.layer
        close(mixer(self.x), layer.project(self.x))

    def test_what_is_widened_to_float32_stays_in_float64(self) -> None:
        class Widens(Plain):
            def forward(self, hidden_states: Tensor) -> Any:
                gate = F.softmax(hidden_states.float(), dim=-1, dtype=torch.float32)
                return self.project(gate.to(torch.float32).to(hidden_states.dtype))

        mixer = adapt(Widens)(8, 2)
        layer: Any = mixer.layer
        close(mixer(self.x), layer.project(F.softmax(self.x, dim=-1)))
        assert mixer.bfloat16()(self.x.bfloat16()).dtype == torch.bfloat16

    def test_a_size_of_heads_is_no_number_of_them(self) -> None:
        class Sized(Plain):
            def __init__(self, hidden_size: int, num_head_channels: int = 4, overheads: int = 0):
                super().__init__(hidden_size)
                self.sizes = (num_head_channels, overheads)

        mixer: Any = adapt(Sized)(8, 2)
        assert mixer.layer.sizes == (4, 0)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_what_is_computed_wider_comes_back_to_the_type_of_the_model(
        self, dtype: torch.dtype
    ) -> None:
        class Wide(Plain):
            def forward(self, hidden_states: Tensor) -> Any:
                angle = hidden_states.double().cumsum(dim=1).cos().float()
                mask = (hidden_states > 0).float()
                return self.project(angle * mask.type(torch.float32))

        mixer, x = adapt(Wide)(8, 2).to(dtype), self.x.to(dtype)
        layer: Any = mixer.layer
        close(mixer(x), layer.project(x.double().cumsum(dim=1).cos().to(dtype) * (x > 0)))

    def test_what_a_cast_gives_can_be_written_to(self) -> None:
        class Writes(Plain):
            def forward(self, hidden_states: Tensor) -> Any:
                doubled = hidden_states.float().mul_(2) + hidden_states.to(torch.float32, copy=True)
                return self.project(doubled)

        mixer, x = adapt(Writes)(8, 2).double(), self.x.double()
        layer: Any = mixer.layer
        close(mixer(x), layer.project(3 * x))

    def test_a_cast_to_half_precision_is_made_in_such_a_model(self) -> None:
        mixer = adapt(CastsToHalf)(8, 2).bfloat16()
        layer: Any = mixer.layer
        x = self.x.bfloat16()
        assert mixer(x).dtype == torch.bfloat16
        close(mixer(x), layer.project(x.half().bfloat16()))

    def test_a_cast_to_the_type_of_a_tensor_is_made_under_autocast(self) -> None:
        class Routes(Plain):
            def forward(self, hidden_states: Tensor) -> Any:
                y = self.project(hidden_states)  # in bfloat16
                share = hidden_states.softmax(dim=-1).to(y.dtype)
                first = torch.zeros_like(share[..., :1], dtype=torch.long)
                return torch.zeros_like(y).scatter(-1, first, share)

        with torch.autocast("cpu", torch.bfloat16):
            assert adapt(Routes)(8, 2)(self.x).dtype == torch.bfloat16

    def test_a_cast_to_float32_is_left_out_in_float64_under_autocast_too(self) -> None:
        class Widens(Plain):
            def forward(self, hidden_states: Tensor) -> Any:
                gate = hidden_states.float().sigmoid()
                return self.project(gate)

        with torch.autocast("cpu", torch.bfloat16):
            assert adapt(Widens)(8, 2).double()(self.x.double()).dtype == torch.float64

    def test_a_layer_that_returns_no_tensor_is_told_what_to_return(self) -> None:
        with pytest.raises(TypeError, match="returned tuple that begins with NoneType; expected"):
            adapt(ReturnsNothing)(8, 2)(self.x)

    def test_a_layer_that_does_not_keep_the_packed_row_is_told_so(self) -> None:
        layer = LosesTheLast()
        with pytest.raises(ValueError, match=r"shape \(1, 9, 8\) for documents packed into"):
            PackingFlaMixer(layer)(self.x, torch.zeros(2, 5))


def built(file: Path, name: str) -> Any:
    scope: dict[str, Any] = {"__name__": "honest"}
    # torch.compile would take 20 s.
    source = file.read_text().replace("@torch.compile\n", "")
    exec(compile(source, str(file), "exec"), scope)
    return redrawn(adapt(scope[name])(8, 2))


@pytest.mark.usefixtures("standing_in")
@pytest.mark.parametrize(
    ("file", "name"),
    [
        (HONEST.name, "DeltaNet"),
        ("gates_of_heads.py", "GatesOfHeads"),
        ("gates_of_channels.py", "GatesOfChannels"),
    ],
)
class TestHonestLayers:
    """Layers of the usual kinds: the delta rule written out, and gates computed by the operator."""

    @pytest.fixture
    def mixer(self, file: str, name: str) -> Any:
        return built(FLA_STYLE / file, name)

    @torch.no_grad()
    def test_its_padding_is_not_heard(self, mixer: Any) -> None:
        layer, x = mixer.layer, draw(2, 40, 8)
        mask = torch.ones(2, 40, dtype=torch.long)
        mask[1, :7] = 0
        padded, _, _ = layer(x, attention_mask=mask)
        close(padded[1:, 7:], layer(x[1:, 7:])[0])

    @torch.no_grad()
    def test_its_packed_documents_equal_each_alone(self, mixer: Any) -> None:
        x = draw(2, 40, 8)
        documents = (torch.arange(40) >= torch.tensor([[3], [17]])).long()
        packed = mixer(x, documents)
        for row, cut in enumerate((3, 17)):
            for part in (slice(0, cut), slice(cut, 40)):
                close(packed[row : row + 1, part], mixer(x[row : row + 1, part]))


GATES_INSIDE = [("gates_of_heads.py", "GatesOfHeads"), ("gates_of_channels.py", "GatesOfChannels")]


@torch.no_grad()
@pytest.mark.usefixtures("standing_in")
@pytest.mark.parametrize(("file", "name"), GATES_INSIDE)
def test_a_layer_goes_on_from_its_cache(file: str, name: str) -> None:
    layer, x, cache = built(FLA_STYLE / file, name).layer, draw(2, 40, 8), modules.Cache()
    parts = [layer(part, past_key_values=cache, use_cache=True)[0] for part in x.split(17, dim=1)]
    close(torch.cat(parts, dim=1), layer(x)[0])


@torch.no_grad()
@pytest.mark.usefixtures("standing_in")
def test_gates_computed_by_the_operator_are_those_of_the_function() -> None:
    mixer, x = built(FLA_STYLE / "gates_of_channels.py", "GatesOfChannels"), draw(2, 40, 8)
    close(mixer.train()(x), mixer.eval()(x))
