"""Makes `import fla` find what stands in for it.

Importing this file changes nothing; `stand_in` does, and `stand_down` undoes it.
"""

import importlib.util
import sys
from collections.abc import Mapping, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import torch

from move37.nn.interop import modules, operators

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
_CONVOLUTIONS: dict[str, Any] = {**_CONVOLUTION, "causal_conv1d": modules.causal_conv1d}
_ROTARY: dict[str, Any] = {"RotaryEmbedding": modules.RotaryEmbedding}
_PADDING: dict[str, Any] = {
    "get_layer_cache": modules.get_layer_cache,
    "get_unpad_data": modules.get_unpad_data,
    "index_first_axis": modules.index_first_axis,
    "index_put_first_axis": modules.index_put_first_axis,
    "pad_input": modules.pad_input,
    "repad_hidden_states": modules.repad_hidden_states,
    "unpad_hidden_states": modules.unpad_hidden_states,
    "unpad_input": modules.unpad_input,
    "update_layer_cache": modules.update_layer_cache,
}
_OPERATORS: dict[str, dict[str, Any]] = {
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

# What each module of fla offers here.
STAND_INS: Mapping[str, Mapping[str, Any]] = {
    "fla": {},
    "fla.layers": {},
    "fla.layers.utils": _PADDING,
    "fla.models": {},
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
        "HadamardFeatureMap": modules.HadamardFeatureMap,
        "HedgehogFeatureMap": modules.HedgehogFeatureMap,
        "T2RFeatureMap": modules.T2RFeatureMap,
    },
    "fla.modules.fused_norm_gate": _GATED_NORMS,
    "fla.modules.l2norm": {
        "L2Norm": modules.L2Norm,
        "l2_norm": modules.l2norm,
        "l2norm": modules.l2norm,
    },
    "fla.modules.layernorm": {**_NORMS, "rms_norm_linear": modules.rms_norm_linear},
    "fla.modules.rotary": _ROTARY,
    "fla.ops": {name: value for one in _OPERATORS.values() for name, value in one.items()},
    **{f"fla.ops.{package}": names for package, names in _OPERATORS.items()},
    "fla.ops.kda.gate": {"fused_kda_gate": operators.fused_kda_gate},
}


class NoStandIn(ImportError):
    """Something of fla that has no stand-in here; says what there is."""


class _Module(ModuleType):
    """A module of fla; asking for what it lacks says what it has."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        here = ", ".join(sorted(STAND_INS[self.__name__])) or "no names"
        raise NoStandIn(f"{self.__name__}.{name} has no stand-in in plain torch; there: {here}")


class _Finder:
    """Finds, and makes, the modules of `STAND_INS`."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        del path, target
        if name.split(".")[0] != "fla":
            return None
        if name not in STAND_INS:
            here = ", ".join(STAND_INS)
            raise NoStandIn(f"{name} has no stand-in in plain torch; there are: {here}")
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
    for name in [name for name in sys.modules if name.split(".")[0] == "fla"]:
        del sys.modules[name]
