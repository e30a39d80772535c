"""Makes `import fla` find what stands in for it, and so for modules of transformers and flash_attn.

Importing this file changes nothing; `stand_in` does, and `stand_down` undoes it.
"""

import importlib.util
import sys
from collections.abc import Mapping, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Unpack

import torch

from move37.nn.interop import attention, helpers, modules, operators, recurrences, unneeded
from move37.nn.interop.unneeded import NoStandIn as NoStandIn

_NORMS: dict[str, Any] = {
    "GroupNorm": modules.GroupNorm,
    "LayerNorm": modules.LayerNorm,
    "RMSNorm": modules.RMSNorm,
}
_GATED_NORMS: dict[str, Any] = {
    "FusedLayerNormGated": modules.FusedLayerNormGated,
    "FusedLayerNormSwishGate": modules.FusedLayerNormSwishGate,
    "FusedRMSNormGated": modules.FusedRMSNormGated,
    "FusedRMSNormSwishGate": modules.FusedRMSNormSwishGate,
    "FusedRMSNormSwishGateLinear": modules.FusedRMSNormSwishGateLinear,
}
_CONVOLUTION: dict[str, Any] = {"ShortConvolution": modules.ShortConvolution}
_CONVOLUTIONS: dict[str, Any] = {
    **_CONVOLUTION,
    "causal_conv1d": modules.causal_conv1d,
    "causal_conv1d_update": modules.causal_conv1d_update,
}
_ROTARY: dict[str, Any] = {"RotaryEmbedding": modules.RotaryEmbedding}
_GATED_STATE_SPACE_NORMS: dict[str, Any] = {
    "RMSNormGated": modules.RMSNormGated,
    "rmsnorm_fn": modules.rmsnorm_fn,
}
_PADDING: dict[str, Any] = {
    "get_layer_cache": modules.get_layer_cache,
    "get_unpad_data": modules.get_unpad_data,
    "get_unpad_indices_and_cu": modules.get_unpad_indices_and_cu,
    "index_first_axis": modules.index_first_axis,
    "index_put_first_axis": modules.index_put_first_axis,
    "pad_input": modules.pad_input,
    "require_cache_layer_idx": modules.require_cache_layer_idx,
    "repad_hidden_states": modules.repad_hidden_states,
    "unpad_hidden_states": modules.unpad_hidden_states,
    "unpad_input": modules.unpad_input,
    "update_layer_cache": modules.update_layer_cache,
}
_INDICES: dict[str, Any] = {
    "prepare_cu_seqlens_from_lens": helpers.prepare_cu_seqlens_from_lens,
    "prepare_cu_seqlens_from_mask": helpers.prepare_cu_seqlens_from_mask,
    "prepare_lens": helpers.prepare_lens,
    "prepare_lens_from_mask": helpers.prepare_lens_from_mask,
    "prepare_position_ids": helpers.prepare_position_ids,
    "prepare_sequence_ids": helpers.prepare_sequence_ids,
}
_OPERATORS: dict[str, dict[str, Any]] = {
    "abc": {"chunk_abc": recurrences.chunk_abc},
    "attn": {
        "attn_decoding_one_step": attention.only_for_decoding("attn_decoding_one_step"),
        "parallel_attn": attention.parallel_attn,
    },
    "based": {
        "fused_chunk_based": recurrences.parallel_based,
        "parallel_based": recurrences.parallel_based,
    },
    "comba": {
        "chunk_comba": recurrences.chunk_comba,
        "fused_recurrent_comba": recurrences.fused_recurrent_comba,
    },
    "deltaformer": {"deltaformer_attn": attention.deltaformer_attn},
    "forgetting_attn": {"parallel_forgetting_attn": attention.parallel_forgetting_attn},
    "gated_delta_product": {"chunk_gated_delta_product": recurrences.chunk_gated_delta_product},
    "gdn2": {
        "chunk_gdn2": recurrences.chunk_gdn2,
        "fused_recurrent_gdn2": recurrences.fused_recurrent_gdn2,
    },
    "generalized_delta_rule": {"chunk_dplr_delta_rule": recurrences.chunk_dplr_delta_rule},
    "gsa": {
        "chunk_gsa": recurrences.chunk_gsa,
        "fused_recurrent_gsa": recurrences.fused_recurrent_gsa,
    },
    "hgrn": {
        "chunk_hgrn": recurrences.chunk_hgrn,
        "fused_recurrent_hgrn": recurrences.chunk_hgrn,
    },
    "lightnet": {
        "chunk_lightnet": recurrences.chunk_lightnet,
        "fused_recurrent_lightnet": recurrences.chunk_lightnet,
    },
    "log_linear_attn": {
        "LogLinearAttentionState": recurrences.LogLinearAttentionState,
        "chunk_log_linear_attn": recurrences.chunk_log_linear_attn,
    },
    "mesa_net": {
        "chunk_mesa_net": recurrences.chunk_mesa_net,
        "mesa_net_decoding_one_step": attention.only_for_decoding("mesa_net_decoding_one_step"),
    },
    "moba": {"parallel_moba": attention.parallel_moba},
    "nsa": {"parallel_nsa": attention.parallel_nsa},
    "parallax": {
        "parallax_decode": attention.only_for_decoding("parallax_decode"),
        "parallax_decode_one_step": attention.only_for_decoding("parallax_decode_one_step"),
        "parallel_parallax": attention.parallel_parallax,
    },
    "path_attn": {"parallel_path_attn": attention.parallel_path_attn},
    "precond_gated_delta_rule": {
        "chunk_precond_gated_delta_rule": recurrences.chunk_precond_gated_delta_rule,
        "fused_recurrent_precond_gated_delta_rule": recurrences.chunk_precond_gated_delta_rule,
        "naive_recurrent_precond_gated_delta_rule": recurrences.chunk_precond_gated_delta_rule,
    },
    "precond_kda": {
        "chunk_precond_kda": recurrences.chunk_precond_kda,
        "fused_recurrent_precond_kda": recurrences.chunk_precond_kda,
    },
    "rebased": {"parallel_rebased": recurrences.parallel_rebased},
    "rwkv6": {
        "chunk_rwkv6": recurrences.chunk_rwkv6,
        "fused_recurrent_rwkv6": recurrences.fused_recurrent_rwkv6,
    },
    "rwkv7": {
        "chunk_rwkv7": recurrences.chunk_rwkv7,
        "fused_addcmul_rwkv7": recurrences.fused_addcmul_rwkv7,
        "fused_k_rwkv7": recurrences.fused_k_rwkv7,
        "fused_mul_recurrent_rwkv7": recurrences.fused_mul_recurrent_rwkv7,
        "gate_output_correction": recurrences.gate_output_correction,
    },
    "stickbreaking_attn": {"parallel_stickbreaking_attn": attention.parallel_stickbreaking_attn},
    "wall_attn": {
        "build_wall_kv_cache": attention.only_for_decoding("build_wall_kv_cache"),
        "parallel_wall_attn": attention.parallel_wall_attn,
        "parallel_wall_attn_decode": attention.only_for_decoding("parallel_wall_attn_decode"),
    },
    "delta_rule": {
        "chunk_delta_rule": operators.chunk_delta_rule,
        "fused_chunk_delta_rule": operators.chunk_delta_rule,
        "fused_recurrent_delta_rule": operators.chunk_delta_rule,
    },
    "gated_delta_rule": {
        "chunk_gated_delta_rule": operators.chunk_gated_delta_rule,
        "chunk_gdn": operators.chunk_gated_delta_rule,
        "fused_recurrent_gated_delta_rule": operators.fused_recurrent_gated_delta_rule,
        "fused_recurrent_gdn": operators.fused_recurrent_gated_delta_rule,
    },
    "gla": {
        "chunk_gla": operators.chunk_gla,
        "fused_chunk_gla": operators.chunk_gla,
        "fused_recurrent_gla": operators.fused_recurrent_gla,
    },
    "kda": {
        "chunk_kda": operators.chunk_kda,
        "fused_recurrent_kda": operators.fused_recurrent_kda,
    },
    "linear_attn": {
        "chunk_linear_attn": operators.chunk_linear_attn,
        "fused_chunk_linear_attn": operators.chunk_linear_attn,
        "fused_recurrent_linear_attn": operators.fused_recurrent_linear_attn,
    },
    "retention": {
        "chunk_retention": operators.chunk_retention,
        "fused_chunk_retention": operators.chunk_retention,
        "fused_recurrent_retention": operators.chunk_retention,
        "parallel_retention": operators.chunk_retention,
    },
    "simple_gla": {
        "chunk_simple_gla": operators.chunk_simple_gla,
        "fused_chunk_simple_gla": operators.chunk_simple_gla,
        "fused_recurrent_simple_gla": operators.chunk_simple_gla,
        "parallel_simple_gla": operators.chunk_simple_gla,
    },
}

# Operators that layers import from the file of their package.
_FILES: dict[str, tuple[str, ...]] = {
    "abc": ("chunk",),
    "attn": ("decoding", "parallel"),
    "forgetting_attn": ("parallel",),
    "generalized_delta_rule": ("dplr",),
    "log_linear_attn": ("chunk",),
    "nsa": ("parallel",),
    "parallax": ("decode",),
    "path_attn": ("parallel",),
    "rwkv7": ("fused_addcmul", "fused_k_update", "gate_output_correction"),
}

# What each module of fla, and of what layers import beside it, offers here.
STAND_INS: Mapping[str, Mapping[str, Any]] = {
    "fla": {},
    "fla.layers": {},
    "fla.layers.mamba2": {
        "apply_mask_to_padding_states": helpers.apply_mask_to_padding_states,
        # As there without the CUDA packages.
        "causal_conv1d_fn": None,
        "causal_conv1d_update": None,
        "is_fast_path_available": False,
    },
    "fla.layers.rwkv6": {"LoRA": helpers.LoRA},
    "fla.layers.utils": _PADDING,
    "fla.models": {},
    "fla.models.cache_utils": {"Cache": modules.Cache},
    "fla.models.utils": {"Cache": modules.Cache},
    "fla.modules": {
        **_NORMS,
        **_GATED_NORMS,
        **_CONVOLUTION,
        **_ROTARY,
        "L2Norm": modules.L2Norm,
    },
    "fla.modules.activations": {
        "ACT2FN": modules.ACTIVATIONS,
        "elu_p1": modules.elu_p1,
        "fast_gelu_impl": modules.fast_gelu,
        "logsigmoid": modules.logsigmoid,
        "sigmoid": modules.sigmoid,
        "sqrelu": modules.sqrelu,
        "swiglu": modules.swiglu,
        "swiglu_linear": modules.swiglu_linear,
        "swish": modules.swish,
    },
    "fla.modules.conv": _CONVOLUTIONS,
    "fla.modules.conv.short_conv": _CONVOLUTION,
    "fla.modules.convolution": _CONVOLUTIONS,
    "fla.modules.feature_map": {
        "DPFPFeatureMap": modules.DPFPFeatureMap,
        "GELUFeatureMap": modules.GELUFeatureMap,
        "HadamardFeatureMap": modules.HadamardFeatureMap,
        "HedgehogFeatureMap": modules.HedgehogFeatureMap,
        "ReLUFeatureMap": modules.ReLUFeatureMap,
        "RebasedFeatureMap": modules.RebasedFeatureMap,
        "SigmoidFeatureMap": modules.SigmoidFeatureMap,
        "SquaredReLUFeatureMap": modules.SquaredReLUFeatureMap,
        "SwishFeatureMap": modules.SwishFeatureMap,
        "T2RFeatureMap": modules.T2RFeatureMap,
        "TaylorFeatureMap": modules.TaylorFeatureMap,
    },
    "fla.modules.fused_norm_gate": {
        **_GATED_NORMS,
        "rms_norm_swish_gate_linear": modules.rms_norm_swish_gate_linear,
    },
    "fla.modules.l2norm": {
        "L2Norm": modules.L2Norm,
        "l2_norm": modules.l2norm,
        "l2norm": modules.l2norm,
    },
    "fla.modules.layernorm": {**_NORMS, "rms_norm_linear": modules.rms_norm_linear},
    "fla.modules.layernorm_gated": _GATED_STATE_SPACE_NORMS,
    "fla.modules.rotary": _ROTARY,
    "fla.modules.token_shift": {"token_shift": helpers.token_shift},
    "fla.ops": {name: value for package in _OPERATORS.values() for name, value in package.items()},
    **{f"fla.ops.{package}": names for package, names in _OPERATORS.items()},
    **{
        f"fla.ops.{package}.{file}": _OPERATORS[package]
        for package, files in _FILES.items()
        for file in files
    },
    "fla.ops.kda.gate": {"fused_kda_gate": operators.fused_kda_gate},
    "fla.ops.utils": {**_INDICES, "chunk_global_cumsum": helpers.chunk_global_cumsum},
    "fla.ops.utils.constant": {"RCP_LN2": helpers.RCP_LN2},
    "fla.ops.utils.cumsum": {"chunk_global_cumsum": helpers.chunk_global_cumsum},
    "fla.ops.utils.index": _INDICES,
    "fla.utils": {"tensor_cache": helpers.tensor_cache},
    "flash_attn": attention.FLASH,
    "transformers": {},
    "transformers.activations": {"ACT2FN": modules.ACTIVATIONS_OF_TRANSFORMERS},
    "transformers.processing_utils": {"Unpack": Unpack},
    "transformers.utils": {"logging": unneeded.logging},
}
_ROOTS = frozenset(name.split(".")[0] for name in STAND_INS)


class _Module(ModuleType):
    """A module of fla; asking for what it lacks says what it has."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        here = ", ".join(sorted(STAND_INS[self.__name__])) or "no names"
        raise NoStandIn(f"{self.__name__}.{name} has no stand-in in plain torch; there: {here}")


def _beside(name: str) -> str:
    """Returns the names of the modules that stand in the same package."""
    package = name.rpartition(".")[0]
    if package not in STAND_INS:
        return _beside(package) if package else ", ".join(sorted(_ROOTS))
    here = [known for known in STAND_INS if known.rpartition(".")[0] == package]
    return ", ".join(sorted(here)) or _beside(package)


class _Finder:
    """Finds, and makes, the modules of `STAND_INS`."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        del path, target
        if name.split(".")[0] not in _ROOTS:
            return None
        if name not in STAND_INS:
            raise NoStandIn(f"{name} has no stand-in in plain torch; there are: {_beside(name)}")
        # All are packages: a package may be asked for any submodule, and then comes here.
        return ModuleSpec(name, self, is_package=True)  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = _Module(spec.name)
        vars(module).update(STAND_INS[spec.name])
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is left to run."""


_FINDER = _Finder()


def usable() -> bool:
    """Says whether the real fla is installed, and has the GPU that its kernels need."""
    return torch.cuda.is_available() and importlib.util.find_spec("fla") is not None


def stand_in(*, although_usable: bool = False) -> None:
    """From here on `import fla` finds the stand-ins; the real fla goes first where it is usable.

    `although_usable` puts the stand-ins first: the real kernels run neither on the CPU nor in
    float64. A real fla that was imported before stays where it was imported.
    """
    if _FINDER in sys.meta_path or (not although_usable and usable()):
        return
    _forget()
    sys.meta_path.insert(0, _FINDER)


def stand_down() -> None:
    """Undoes `stand_in`."""
    if _FINDER in sys.meta_path:
        sys.meta_path.remove(_FINDER)
        _forget()


def _forget() -> None:
    for name in [name for name in sys.modules if name.split(".")[0] in _ROOTS]:
        del sys.modules[name]
