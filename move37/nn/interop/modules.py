"""What layers import from `fla.modules`, `fla.layers.utils` and `fla.models.utils`, in plain torch.

The same names, arguments, parameters and results as there. fla computes in float32 whatever comes
in; here float64 stays float64, since a mixer is verified in it.

Shape letters: B batch, T time, D width, H heads, K head size, W window, N sequences packed into a
row, S tokens without padding.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from move37.nn import ops

# ---------------------------------------------------------------- packed rows


def document_numbers(cu_seqlens: Tensor, length: int) -> Tensor:
    """Returns (1, T): the number of the packed sequence to which each position belongs."""
    places_T = torch.arange(length, device=cu_seqlens.device)
    return torch.searchsorted(cu_seqlens[1:].long(), places_T, right=True)[None]


def check_packed(x: Tensor, cu_seqlens: Tensor | None, states: Tensor | None = None) -> None:
    """Raises ValueError unless packed sequences fill one row, with a state for each.

    None is empty: fla's chunked kernels give a chunk to the wrong sequence then.
    """
    if cu_seqlens is None:
        return
    if x.shape[0] != 1:
        raise ValueError(f"with cu_seqlens the batch size is 1, got {x.shape[0]}")
    places = cu_seqlens.tolist()
    rise = all(first < last for first, last in pairwise(places))
    if not rise or places[:1] != [0] or places[-1:] != [x.shape[1]]:
        raise ValueError(
            f"expected cu_seqlens that rise from 0 to {x.shape[1]}, the length of the row, got "
            f"{places}; they are 0 and, for each sequence in the row, the place behind its end"
        )
    if states is not None and len(states) != len(cu_seqlens) - 1:
        raise ValueError(
            f"expected {len(cu_seqlens) - 1} states, one a sequence, got {len(states)}"
        )


def wide(x: Tensor) -> Tensor:
    """Returns x in float32 if it is narrower."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


# ---------------------------------------------------------------- norms


def l2norm(x: Tensor, eps: float = 1e-6, output_dtype: torch.dtype | None = None) -> Tensor:
    """x / sqrt(|x|^2 + eps), over the last dimension."""
    y = wide(x)
    y = y * torch.rsqrt(y.square().sum(dim=-1, keepdim=True) + eps)
    return y.to(x.dtype if output_dtype is None else output_dtype)


class L2Norm(nn.Module):
    """`l2norm` as a module."""

    def __init__(self, eps: float = 1e-6, output_dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.eps = eps
        self.output_dtype = output_dtype

    def forward(self, x: Tensor) -> Tensor:
        return l2norm(x, self.eps, self.output_dtype)


Normed = Tensor | tuple[Tensor, Tensor]


def _norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    residual: Tensor | None,
    eps: float,
    prenorm: bool,
    residual_in_fp32: bool,
    *,
    centre: bool,
    groups: int = 1,
    gate: Callable[[Tensor], Tensor] | None = None,
) -> Normed:
    """Normalizes x + residual, then weight, bias and gate; with `prenorm` also returns the sum.

    Per group of channels: (x - mean) / sqrt(variance + eps), or x / sqrt(mean square + eps) if not
    `centre`.
    """
    total = wide(x) if residual is None else wide(x) + wide(residual)
    y = total.unflatten(-1, (groups, -1))
    if centre:
        y = y - y.mean(dim=-1, keepdim=True)
    y = (y * torch.rsqrt(y.square().mean(dim=-1, keepdim=True) + eps)).flatten(-2)
    if weight is not None:
        y = y * weight
    if bias is not None:
        y = y + bias
    if gate is not None:
        y = gate(y)
    y = y.to(x.dtype)
    if not prenorm:
        return y
    if residual is not None:
        return y, total.to(residual.dtype)
    return y, total.float() if residual_in_fp32 else total.to(x.dtype)


class _Affine(nn.Module):
    """A weight of ones and a bias of zeros, where asked for."""

    weight: nn.Parameter | None
    bias: nn.Parameter | None

    def __init__(
        self,
        hidden_size: int,
        elementwise_affine: bool = True,
        bias: bool = False,
        eps: float = 1e-5,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.elementwise_affine = elementwise_affine
        self.eps = eps
        self.register_parameter("weight", None)
        self.register_parameter("bias", None)
        if elementwise_affine:
            self.weight = nn.Parameter(torch.empty(hidden_size, device=device, dtype=dtype))
            if bias:
                self.bias = nn.Parameter(torch.empty(hidden_size, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        if self.weight is not None:
            nn.init.ones_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def extra_repr(self) -> str:
        return f"{self.hidden_size}, eps={self.eps}"


class LayerNorm(_Affine):
    """(x - mean) / sqrt(variance + eps), with a weight; bias only if asked for."""

    def forward(
        self,
        x: Tensor,
        residual: Tensor | None = None,
        prenorm: bool = False,
        residual_in_fp32: bool = False,
    ) -> Normed:
        rest = (residual, self.eps, prenorm, residual_in_fp32)
        return _norm(x, self.weight, self.bias, *rest, centre=True)


class RMSNorm(_Affine):
    """x / sqrt(mean square + eps), with a weight; bias only if asked for."""

    def forward(
        self,
        x: Tensor,
        residual: Tensor | None = None,
        prenorm: bool = False,
        residual_in_fp32: bool = False,
    ) -> Normed:
        rest = (residual, self.eps, prenorm, residual_in_fp32)
        return _norm(x, self.weight, self.bias, *rest, centre=False)


class GroupNorm(_Affine):
    """Layer or RMS norm in each of `num_groups` groups of neighbouring channels."""

    def __init__(
        self,
        num_groups: int,
        hidden_size: int,
        elementwise_affine: bool = True,
        bias: bool = False,
        eps: float = 1e-5,
        is_rms_norm: bool = False,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(hidden_size, elementwise_affine, bias, eps, device, dtype)
        if hidden_size % num_groups:
            raise ValueError(f"{num_groups} groups do not divide {hidden_size} channels")
        self.num_groups = num_groups
        self.is_rms_norm = is_rms_norm

    def forward(
        self,
        x: Tensor,
        residual: Tensor | None = None,
        prenorm: bool = False,
        residual_in_fp32: bool = False,
    ) -> Normed:
        rest = (residual, self.eps, prenorm, residual_in_fp32)
        kind = not self.is_rms_norm
        return _norm(x, self.weight, self.bias, *rest, centre=kind, groups=self.num_groups)


def _gate(g: Tensor, activation: str) -> Callable[[Tensor], Tensor]:
    g = wide(g)
    gate = g.sigmoid() if activation == "sigmoid" else F.silu(g)
    return lambda y: y * gate


def _check_activation(activation: str) -> None:
    if activation not in ("swish", "silu", "sigmoid"):
        raise ValueError(f"expected activation swish, silu or sigmoid, got {activation}")


class FusedLayerNormGated(_Affine):
    """Layer norm of x, times the activation of the gate g."""

    def __init__(
        self,
        hidden_size: int,
        elementwise_affine: bool = True,
        bias: bool = False,
        activation: str = "swish",
        eps: float = 1e-5,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(hidden_size, elementwise_affine, bias, eps, device, dtype)
        _check_activation(activation)
        self.activation = activation

    def forward(
        self,
        x: Tensor,
        g: Tensor,
        residual: Tensor | None = None,
        prenorm: bool = False,
        residual_in_fp32: bool = False,
    ) -> Normed:
        gate = _gate(g, self.activation)
        rest = (residual, self.eps, prenorm, residual_in_fp32)
        return _norm(x, self.weight, self.bias, *rest, centre=True, gate=gate)


class FusedLayerNormSwishGate(FusedLayerNormGated):
    """Layer norm of x, times silu(g)."""

    def __init__(
        self,
        hidden_size: int,
        elementwise_affine: bool = True,
        bias: bool = False,
        eps: float = 1e-5,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(hidden_size, elementwise_affine, bias, "swish", eps, device, dtype)


class FusedRMSNormGated(_Affine):
    """RMS norm of x, times the activation of the gate g."""

    def __init__(
        self,
        hidden_size: int,
        elementwise_affine: bool = True,
        eps: float = 1e-5,
        activation: str = "swish",
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(hidden_size, elementwise_affine, False, eps, device, dtype)
        _check_activation(activation)
        self.activation = activation

    def forward(
        self,
        x: Tensor,
        g: Tensor,
        residual: Tensor | None = None,
        prenorm: bool = False,
        residual_in_fp32: bool = False,
    ) -> Normed:
        gate = _gate(g, self.activation)
        rest = (residual, self.eps, prenorm, residual_in_fp32)
        return _norm(x, self.weight, self.bias, *rest, centre=False, gate=gate)


class FusedRMSNormSwishGate(FusedRMSNormGated):
    """RMS norm of x, times silu(g); the older name."""

    def __init__(
        self,
        hidden_size: int,
        elementwise_affine: bool = True,
        eps: float = 1e-5,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(hidden_size, elementwise_affine, eps, "swish", device, dtype)


class FusedRMSNormSwishGateLinear(_Affine):
    """RMS norm of x, times silu(g), then a linear map that the caller brings."""

    def __init__(
        self,
        hidden_size: int,
        elementwise_affine: bool = True,
        eps: float = 1e-5,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(hidden_size, elementwise_affine, False, eps, device, dtype)

    def forward(
        self,
        x: Tensor,
        g: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        residual: Tensor | None = None,
        prenorm: bool = False,
        residual_in_fp32: bool = False,
    ) -> Normed:
        gate = _gate(g, "swish")
        rest = (residual, self.eps, prenorm, residual_in_fp32)
        y = _norm(x, self.weight, self.bias, *rest, centre=False, gate=gate)
        return _mapped(y, weight, bias)


def rmsnorm_fn(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    z: Tensor | None = None,
    eps: float = 1e-6,
    group_size: int | None = None,
    norm_before_gate: bool = True,
) -> Tensor:
    """RMS norm of x times silu(z), or of x, then times silu(z) if `norm_before_gate`.

    Each group of `group_size` neighbouring channels is normed by itself; None: all together.
    """
    groups = 1 if group_size is None else x.shape[-1] // group_size
    dtype, x = x.dtype, wide(x)
    gate = None if z is None else F.silu(wide(z))
    if gate is not None and not norm_before_gate:
        x = x * gate
    y = _norm(x, weight, bias, None, eps, False, False, centre=False, groups=groups)
    assert isinstance(y, Tensor)  # no sum beside it was asked for
    return (y * gate if gate is not None and norm_before_gate else y).to(dtype)


class RMSNormGated(nn.Module):
    """`rmsnorm_fn` as a module; fla's state-space layers use it."""

    bias: nn.Parameter | None

    def __init__(
        self,
        hidden_size: int,
        eps: float = 1e-5,
        group_size: int | None = None,
        norm_before_gate: bool = False,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.eps = eps
        self.group_size = group_size
        self.norm_before_gate = norm_before_gate
        self.weight = nn.Parameter(torch.ones(hidden_size, device=device, dtype=dtype))
        self.register_parameter("bias", None)

    def reset_parameters(self) -> None:
        nn.init.ones_(self.weight)

    def forward(self, x: Tensor, z: Tensor | None = None) -> Tensor:
        rest = (self.eps, self.group_size, self.norm_before_gate)
        return rmsnorm_fn(x, self.weight, self.bias, z, *rest)


def rms_norm_swish_gate_linear(
    x: Tensor,
    g: Tensor,
    norm_weight: Tensor | None,
    norm_bias: Tensor | None,
    linear_weight: Tensor,
    linear_bias: Tensor | None,
    residual: Tensor | None = None,
    prenorm: bool = False,
    residual_in_fp32: bool = False,
    eps: float = 1e-6,
) -> Normed:
    """RMS norm of x, times silu(g), then a linear map."""
    rest = (residual, eps, prenorm, residual_in_fp32)
    y = _norm(x, norm_weight, norm_bias, *rest, centre=False, gate=_gate(g, "swish"))
    return _mapped(y, linear_weight, linear_bias)


def rms_norm_linear(
    x: Tensor,
    norm_weight: Tensor | None,
    norm_bias: Tensor | None,
    linear_weight: Tensor,
    linear_bias: Tensor | None,
    residual: Tensor | None = None,
    eps: float = 1e-5,
    prenorm: bool = False,
    residual_in_fp32: bool = False,
) -> Normed:
    """RMS norm of x, then a linear map."""
    rest = (residual, eps, prenorm, residual_in_fp32)
    y = _norm(x, norm_weight, norm_bias, *rest, centre=False)
    return _mapped(y, linear_weight, linear_bias)


def _mapped(y: Normed, weight: Tensor, bias: Tensor | None) -> Normed:
    """Applies a linear map, in the precision of what is mapped; a sum beside it stays."""
    if isinstance(y, tuple):
        return _linear(y[0], weight, bias), y[1]
    return _linear(y, weight, bias)


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return F.linear(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))


# ---------------------------------------------------------------- activations


def sigmoid(x: Tensor) -> Tensor:
    return x.sigmoid()


def logsigmoid(x: Tensor, temperature: float = 1.0) -> Tensor:
    """log sigmoid(x) / temperature."""
    return (F.logsigmoid(wide(x)) / temperature).to(x.dtype)


def swish(x: Tensor) -> Tensor:
    return F.silu(x)


def sqrelu(x: Tensor) -> Tensor:
    return F.relu(x).square()


def elu_p1(x: Tensor) -> Tensor:
    """elu(x) + 1, which is above zero."""
    return (F.elu(wide(x)) + 1).to(x.dtype)


def swiglu(x: Tensor, y: Tensor) -> Tensor:
    """silu(x) * y."""
    return (F.silu(wide(x)) * wide(y)).to(x.dtype)


def swiglu_linear(x: Tensor, y: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return F.linear(swiglu(x, y), weight, bias)


def fast_gelu(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


ACTIVATIONS: dict[str, Callable[..., Tensor]] = {
    "relu": F.relu,
    "sigmoid": sigmoid,
    "logsigmoid": logsigmoid,
    "silu": swish,
    "swish": swish,
    "sqrelu": sqrelu,
    "gelu": fast_gelu,
    "elu_p1": elu_p1,
}
# By the names of transformers, where gelu is the exact function.
ACTIVATIONS_OF_TRANSFORMERS: dict[str, Callable[..., Tensor]] = {
    "gelu": F.gelu,
    "gelu_new": fast_gelu,
    "gelu_pytorch_tanh": fast_gelu,
    "leaky_relu": F.leaky_relu,
    "linear": nn.Identity(),
    "mish": F.mish,
    "relu": F.relu,
    "relu2": sqrelu,
    "relu6": F.relu6,
    "sigmoid": sigmoid,
    "silu": swish,
    "swish": swish,
    "tanh": torch.tanh,
}


# ---------------------------------------------------------------- feature maps


class HadamardFeatureMap(nn.Module):
    """The product of two linear maps of x, channel by channel."""

    def __init__(self, head_dim: int) -> None:
        super().__init__()
        self.layer1 = nn.Linear(head_dim, head_dim)
        self.layer2 = nn.Linear(head_dim, head_dim)

    def forward(self, x: Tensor) -> Tensor:
        first: Tensor = self.layer1(x)
        second: Tensor = self.layer2(x)
        return first * second


class HedgehogFeatureMap(nn.Module):
    """softmax of (2 y, -2 y), y a linear map of x that starts as x itself.

    Zhang et al. arXiv:2402.04347.
    """

    def __init__(self, head_dim: int) -> None:
        super().__init__()
        self.layer = nn.Linear(head_dim, head_dim)
        self.init_weights_()

    def init_weights_(self) -> None:
        nn.init.eye_(self.layer.weight)
        nn.init.zeros_(self.layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        y = 2 * self.layer(x)
        return torch.cat([y, -y], dim=-1).softmax(dim=-1)


class T2RFeatureMap(nn.Module):
    """relu of a linear map to `dot_dim` channels. Kasai et al. arXiv:2103.13076."""

    def __init__(
        self, head_dim: int, dot_dim: int | None = None, bias: bool | None = False
    ) -> None:
        super().__init__()
        self.layer = nn.Linear(head_dim, dot_dim or head_dim, bias=bool(bias))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.layer(x))


def _products(x: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the products of different channels (..., K (K - 1) / 2), and the squares."""
    first, second = torch.triu_indices(x.shape[-1], x.shape[-1], 1, device=x.device)
    return x[..., first] * x[..., second], x.square()


class TaylorFeatureMap(nn.Module):
    """Features y with y(a) . y(b) = 1 + p + p^2 / 2, p = a . b / sqrt(K).

    Arora et al. arXiv:2402.18668.
    """

    def __init__(self, head_dim: int) -> None:
        super().__init__()
        self.head_dim = head_dim

    def forward(self, x: Tensor) -> Tensor:
        root = self.head_dim**0.5
        products, squares = _products(x)
        parts = [torch.ones_like(x[..., :1]), x / root**0.5]
        return torch.cat([*parts, squares / (root * 2**0.5), products / root], dim=-1)


class RebasedFeatureMap(nn.Module):
    """Features y with y(a) . y(b) = (n(a) . n(b))^2 / K, n a layer norm with weight and bias.

    Aksenov et al. arXiv:2402.10644.
    """

    def __init__(
        self,
        head_dim: int,
        use_gamma: bool | None = True,
        use_beta: bool | None = True,
        normalize: bool | None = True,
    ) -> None:
        super().__init__()
        self.head_dim = head_dim
        self.normalize = normalize
        self.gamma = nn.Parameter(torch.ones(head_dim)) if use_gamma else None
        self.beta = nn.Parameter(torch.zeros(head_dim)) if use_beta else None

    def forward(self, x: Tensor, flatten: bool | None = True) -> Tensor:
        """Maps (..., K) to (..., K (K + 1) / 2), or to n(x) unless `flatten`."""
        if self.normalize:
            x = F.layer_norm(x, (self.head_dim,), self.gamma, self.beta)
        else:
            x = x if self.gamma is None else x * self.gamma
            x = x if self.beta is None else x + self.beta
        if not flatten:
            return x
        products, squares = _products(x)
        root = self.head_dim**0.5
        return torch.cat([squares / root, products * (2**0.5 / root)], dim=-1)


class _Elementwise(nn.Module):
    """A feature map that applies one function to each channel."""

    function: Callable[[Tensor], Tensor]

    def forward(self, x: Tensor) -> Tensor:
        return type(self).function(x)


class ReLUFeatureMap(_Elementwise):
    function = staticmethod(F.relu)


class SquaredReLUFeatureMap(_Elementwise):
    function = staticmethod(sqrelu)


class SwishFeatureMap(_Elementwise):
    function = staticmethod(swish)


class GELUFeatureMap(_Elementwise):
    function = staticmethod(fast_gelu)


class SigmoidFeatureMap(_Elementwise):
    function = staticmethod(sigmoid)


class DPFPFeatureMap(nn.Module):
    """r * (r turned by j channels), for j = 1 to nu, r = (relu(x), -relu(x)).

    As in fla; in the paper r is (relu(x), relu(-x)). Schlag et al. arXiv:2102.11174.
    """

    def __init__(self, head_dim: int, nu: int = 4) -> None:
        super().__init__()
        del head_dim
        self.nu = nu

    def forward(self, x: Tensor) -> Tensor:
        r = torch.cat([F.relu(x), -F.relu(x)], dim=-1)
        return torch.cat([r * r.roll(j, dims=-1) for j in range(1, self.nu + 1)], dim=-1)


# ---------------------------------------------------------------- convolution, positions


def causal_conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    residual: Tensor | None = None,
    initial_state: Tensor | None = None,
    output_final_state: bool | None = False,
    activation: str | None = None,
    backend: str | None = "triton",
    cu_seqlens: Tensor | None = None,
    cu_seqlens_cpu: Tensor | None = None,
    chunk_indices: Tensor | None = None,
    cp_context: object = None,
) -> tuple[Tensor, Tensor | None]:
    """y_t = sum over d < W of weight[:, W - 1 - d] * x_{t-d}, then bias, activation, residual.

    Maps (B, T, D) to (B, T, D), and to the last W inputs (N, D, W), the newest last, if those are
    asked for. Such a state, if given, precedes the inputs.
    """
    del backend, cu_seqlens_cpu, chunk_indices  # how fla splits the work
    if cp_context is not None:
        raise NotImplementedError("the stand-in of fla's causal_conv1d has no cp_context")
    check_conv_activation(activation)
    check_packed(x, cu_seqlens, initial_state)
    y = _convolved(x, weight, initial_state, cu_seqlens)
    if bias is not None:
        y = y + wide(bias)
    if activation is not None:
        y = F.silu(y)
    if residual is not None:
        y = y + wide(residual)
    y = y.to(x.dtype)
    if not output_final_state:
        return y, None
    return y, _last_inputs(x, weight.shape[-1], initial_state, cu_seqlens)


def causal_conv1d_update(
    x: Tensor,
    cache: Tensor,
    residual: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    activation: str | None = None,
) -> tuple[Tensor, Tensor]:
    """One token (N, D) or (N, 1, D) of `causal_conv1d`; updates the cache (N, D, W) in place."""
    if weight is None:
        raise ValueError("causal_conv1d_update needs the weight (D, W), got none")
    token = x.view(cache.shape[0], 1, -1)
    residual = None if residual is None else residual.view_as(token)
    y, last = causal_conv1d(token, weight, bias, residual, cache, True, activation)
    assert last is not None  # it was asked for
    with torch.no_grad():
        cache.copy_(last)
    return y.view_as(x), cache


def check_conv_activation(activation: str | None) -> None:
    if activation not in (None, "silu", "swish"):
        raise ValueError(f"expected activation silu, swish or None, got {activation}")


def _convolved(
    x: Tensor, weight: Tensor, state_NDW: Tensor | None, cu_seqlens: Tensor | None
) -> Tensor:
    """Returns the filtered inputs, not narrower than float32."""
    x, T, W = wide(x), x.shape[1], weight.shape[-1]
    weight_DW = wide(weight).flip(-1)  # ours has the newest input first
    if state_NDW is None:
        documents_1T = None if cu_seqlens is None else document_numbers(cu_seqlens, T)
        return ops.short_convolution(x, weight_DW, documents_1T)
    before = state_NDW[..., 1:].mT.to(x.dtype)
    if cu_seqlens is None:
        return ops.short_convolution(torch.cat([before, x], dim=1), weight_DW)[:, W - 1 :]
    pieces = [
        ops.short_convolution(torch.cat([old[None], own], dim=1), weight_DW)[:, W - 1 :]
        for old, own in zip(before, _apart(x, cu_seqlens), strict=True)
    ]
    return torch.cat(pieces, dim=1)


def _last_inputs(
    x: Tensor, window: int, state_NDW: Tensor | None, cu_seqlens: Tensor | None
) -> Tensor:
    """Returns the last inputs of each sequence (N, D, W), the newest last."""
    rows = x.unbind() if cu_seqlens is None else [own[0] for own in _apart(x, cu_seqlens)]
    if state_NDW is None:
        state_NDW = x.new_zeros(len(rows), x.shape[-1], window)
    last = [
        torch.cat([old.mT.to(x.dtype), own])[-window:].mT
        for old, own in zip(state_NDW, rows, strict=True)
    ]
    return torch.stack(last)


def _apart(x_1TD: Tensor, cu_seqlens: Tensor) -> tuple[Tensor, ...]:
    return x_1TD.split(cu_seqlens.diff().tolist(), dim=1)


class ShortConvolution(nn.Conv1d):
    """`causal_conv1d` as a module: causal, one filter per channel.

    A cache (N, D, W) holds the last W inputs, the newest last.
    """

    def __init__(
        self,
        hidden_size: int,
        kernel_size: int,
        bias: bool = False,
        activation: str | None = "silu",
        backend: str | None = "triton",
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
        **_: object,  # fla takes and ignores use_fast_conv1d
    ) -> None:
        check_conv_activation(activation)
        super().__init__(
            hidden_size,
            hidden_size,
            kernel_size,
            groups=hidden_size,
            bias=bias,
            padding=kernel_size - 1,
            device=device,
            dtype=dtype,
        )
        self.hidden_size = hidden_size
        self.activation = activation
        self.backend = backend

    @property
    def state_size(self) -> int:
        return self.hidden_size * self.kernel_size[0]

    def forward(  # type: ignore[override]
        self,
        x: Tensor,
        residual: Tensor | None = None,
        mask: Tensor | None = None,
        cache: Tensor | None = None,
        output_final_state: bool = False,
        cu_seqlens: Tensor | None = None,
        **_: object,  # how fla splits the work: chunk_indices
    ) -> tuple[Tensor, Tensor | None]:
        """Maps (B, T, D) to (B, T, D), and to the new cache if that is asked for.

        `mask` (B, T) clears inputs. `cu_seqlens` separates sequences packed into one row. A given
        cache precedes the inputs; where each sequence has one token, it is updated in place.
        """
        if mask is not None:
            if cu_seqlens is not None:
                raise ValueError("expected mask or cu_seqlens, got both")
            x = x * mask[..., None]
        B, T, _D = x.shape
        step = (B if cu_seqlens is None else len(cu_seqlens) - 1) == B * T
        in_place = step and cache is not None
        y, last = causal_conv1d(
            x,
            self.weight[:, 0],
            self.bias,
            residual,
            cache,
            output_final_state or in_place,
            self.activation,
            cu_seqlens=cu_seqlens,
        )
        if in_place and cache is not None and last is not None:
            with torch.no_grad():
                cache.copy_(last)
            last = cache
        return y, last if output_final_state else None


class RotaryEmbedding(nn.Module):
    """Channel pairs (i, i + K / 2) turn by position * base^(-2 i / K).

    Su et al. arXiv:2104.09864.
    """

    inv_freq: Tensor

    def __init__(
        self,
        dim: int,
        base: float = 10000.0,
        scale_base: float | None = None,
        interleaved: bool = False,
        pos_idx_in_fp32: bool = True,
        device: torch.device | None = None,
    ) -> None:
        super().__init__()
        if scale_base is not None or interleaved:
            raise NotImplementedError("the stand-in of RotaryEmbedding has neither XPos nor pairs")
        self.dim = dim
        self.base = float(base)
        self.pos_idx_in_fp32 = pos_idx_in_fp32
        # Beside the state dict, as in fla; float64, so that .double() has all digits.
        self.register_buffer("inv_freq", self._frequencies(device), persistent=False)

    def reset_parameters(self) -> None:
        with torch.no_grad():
            self.inv_freq.copy_(self._frequencies(self.inv_freq.device))

    def _frequencies(self, device: torch.device | None) -> Tensor:
        channel = torch.arange(0, self.dim, 2, device=device, dtype=torch.float64)
        return torch.pow(self.base, -channel / self.dim)

    def forward(
        self,
        q: Tensor,
        k: Tensor,
        seqlen_offset: int | Tensor = 0,
        cu_seqlens: Tensor | None = None,
        **_: object,  # max_seqlen, for fla's table of angles
    ) -> tuple[Tensor, Tensor]:
        """Turns q and k (B, T, H, K); positions begin at `seqlen_offset`, a number or (N,)."""
        check_packed(q, cu_seqlens)
        T = q.shape[1]
        place_BT = torch.arange(T, device=q.device)[None]
        offset = torch.as_tensor(seqlen_offset, device=q.device)
        if cu_seqlens is not None:
            document_1T = document_numbers(cu_seqlens, T)
            place_BT = place_BT - cu_seqlens[document_1T]
            offset = offset[document_1T] if offset.ndim else offset
        elif offset.ndim:
            offset = offset[:, None]
        angle = self._angles((place_BT + offset)[..., None, None], q.dtype)
        cos, sin = angle.cos().to(q.dtype), angle.sin().to(q.dtype)
        return self._turn(q, cos, sin), self._turn(k, cos, sin)

    def _angles(self, place: Tensor, dtype: torch.dtype) -> Tensor:
        exact = torch.float64 if dtype == torch.float64 else torch.float32
        if self.inv_freq.dtype not in (torch.float16, torch.bfloat16):
            return place.to(exact) * self.inv_freq.to(exact)
        if self.pos_idx_in_fp32:  # the buffer was cast with the model, and has lost digits
            return place.to(exact) * self._frequencies(place.device).to(exact)
        return place.to(self.inv_freq.dtype) * self.inv_freq

    def _turn(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        half = self.inv_freq.shape[0]
        a, b, rest = wide(x).split([half, half, x.shape[-1] - 2 * half], dim=-1)
        cos, sin = wide(cos), wide(sin)
        return torch.cat([a * cos - b * sin, a * sin + b * cos, rest], dim=-1).to(x.dtype)


# ---------------------------------------------------------------- padding


def get_unpad_data(attention_mask: Tensor) -> tuple[Tensor, Tensor, int]:
    """Returns where the tokens are in the flattened mask (S,), cu_seqlens (B + 1,), the longest."""
    lengths_B = attention_mask.sum(dim=-1, dtype=torch.int32)
    indices_S = attention_mask.flatten().nonzero().flatten()
    cu_seqlens = F.pad(lengths_B.cumsum(0, dtype=torch.int32), (1, 0))
    return indices_S, cu_seqlens, int(lengths_B.max())


def index_first_axis(x: Tensor, indices: Tensor) -> Tensor:
    return x[indices.long()]


def index_put_first_axis(x: Tensor, indices: Tensor, first_axis_dim: int) -> Tensor:
    """Returns zeros of `first_axis_dim` rows, with the rows of x at `indices`."""
    return x.new_zeros(first_axis_dim, *x.shape[1:]).index_put((indices.long(),), x)


def pad_input(hidden_states: Tensor, indices: Tensor, batch_size: int, seq_len: int) -> Tensor:
    """Puts tokens (S, ...) back to their places (B, T, ...), zeros elsewhere."""
    padded = index_put_first_axis(hidden_states, indices, batch_size * seq_len)
    return padded.unflatten(0, (batch_size, seq_len))


def unpad_input(
    q: Tensor | tuple[Tensor, ...],
    states: tuple[Tensor, ...],
    attention_mask: Tensor,
    q_len: int,
    keepdim: bool = False,
) -> tuple[Any, tuple[Tensor, ...], Tensor, tuple[Tensor, Tensor], tuple[int, int]]:
    """Takes the padding out of queries and states (B, T, ...).

    Returns queries and states (S, ...), the queries' indices, and cu_seqlens and longest length
    of both. Queries are as long as the states, or one token each (decoding).
    """
    indices_k, cu_seqlens_k, longest_k = get_unpad_data(attention_mask)
    queries = (q,) if isinstance(q, Tensor) else q
    B, T = states[0].shape[:2]
    states = tuple(index_first_axis(x.flatten(0, 1), indices_k) for x in states)
    if q_len == T:
        indices_q, cu_seqlens_q, longest_q = indices_k, cu_seqlens_k, longest_k
        queries = tuple(index_first_axis(x.flatten(0, 1), indices_k) for x in queries)
    elif q_len == 1:
        cu_seqlens_q = torch.arange(B + 1, dtype=torch.int32, device=queries[0].device)
        indices_q, longest_q = cu_seqlens_q[:-1], 1
        queries = tuple(x.squeeze(1) for x in queries)
    else:
        raise NotImplementedError(f"expected {T} queries or one, got {q_len}")
    if keepdim:
        queries, states = tuple(x[None] for x in queries), tuple(x[None] for x in states)
    borders, longest = (cu_seqlens_q, cu_seqlens_k), (longest_q, longest_k)
    return queries[0] if isinstance(q, Tensor) else queries, states, indices_q, borders, longest


def get_unpad_indices_and_cu(
    attention_mask: Tensor, q_len: int | None = None
) -> tuple[Tensor, Tensor]:
    """`get_unpad_data` of the last `q_len` places (None: of all), without the longest."""
    mask = attention_mask if q_len is None else attention_mask[:, -q_len:]
    indices_S, cu_seqlens, _ = get_unpad_data(mask)
    return indices_S, cu_seqlens


def unpad_hidden_states(
    hidden_states: Tensor, cu_seqlens: Tensor | None, attention_mask: Tensor | None, q_len: int
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Packs the tokens under the mask into one row (1, S, ...), unless cu_seqlens are given.

    Returns it with the tokens' indices (None if nothing was packed) and cu_seqlens.
    """
    if cu_seqlens is not None or attention_mask is None:
        return hidden_states, None, cu_seqlens
    indices, cu_seqlens, _ = get_unpad_data(attention_mask[:, -q_len:])
    return index_first_axis(hidden_states.flatten(0, 1), indices)[None], indices, cu_seqlens


def repad_hidden_states(
    hidden_states: Tensor, indices: Tensor | None, batch_size: int, q_len: int
) -> Tensor:
    """Undoes `unpad_hidden_states`."""
    if indices is None:
        return hidden_states
    return pad_input(hidden_states.squeeze(0), indices, batch_size, q_len)


# ---------------------------------------------------------------- caches


class Cache:
    """Per layer the states that it was given; no attention windows."""

    def __init__(self, seen_tokens: int = 0) -> None:
        self.states: list[dict[str, Any]] = []
        self._seen_tokens = seen_tokens

    def __len__(self) -> int:
        return len(self.states)

    def __getitem__(self, layer_idx: int) -> dict[str, Any]:
        if layer_idx >= len(self):
            raise KeyError(f"the cache has {len(self)} layers, none with index {layer_idx}")
        return self.states[layer_idx]

    def update(
        self,
        recurrent_state: Any = None,
        attn_state: Any = None,
        conv_state: Any = None,
        ffn_state: Any = None,
        layer_idx: int = 0,
        offset: int | None = 1,
        **_: object,
    ) -> dict[str, Any]:
        """Keeps the states of a layer, and returns all of its states."""
        if attn_state is not None:
            raise NotImplementedError("the stand-in of Cache keeps no keys and values (attn_state)")
        while len(self) <= layer_idx:
            empty = ("recurrent_state", "attn_state", "conv_state", "ffn_state")
            self.states.append(dict.fromkeys(empty))
        if layer_idx == 0:
            self._seen_tokens += offset or 0
        state = self.states[layer_idx]
        new = {
            "recurrent_state": recurrent_state,
            "conv_state": conv_state,
            "ffn_state": ffn_state,
        }
        state.update({name: value for name, value in new.items() if value is not None})
        return state

    def get_seq_length(self, layer_idx: int | None = 0) -> int:
        return self._seen_tokens if len(self) > (layer_idx or 0) else 0


def require_cache_layer_idx(module: nn.Module, past_key_values: Cache | None) -> int | None:
    """Returns the module's layer_idx; raises ValueError if there is a cache and no layer_idx."""
    _layer_idx(module, past_key_values)
    found: int | None = getattr(module, "layer_idx", None)
    return found


def _layer_idx(module: nn.Module, past_key_values: Cache | None) -> int:
    found = getattr(module, "layer_idx", None)
    if found is None and past_key_values is not None:
        raise ValueError(f"{type(module).__name__} needs layer_idx to use past_key_values")
    return int(found or 0)


def get_layer_cache(module: nn.Module, past_key_values: Cache | None) -> dict[str, Any] | None:
    """Returns the states of the module's layer, None if there are none yet."""
    at = _layer_idx(module, past_key_values)
    return (
        past_key_values[at] if past_key_values is not None and len(past_key_values) > at else None
    )


def update_layer_cache(
    module: nn.Module, past_key_values: Cache | None, **states: Any
) -> dict[str, Any] | None:
    """Keeps the states of the module's layer, if there is a cache."""
    at = _layer_idx(module, past_key_values)
    return None if past_key_values is None else past_key_values.update(layer_idx=at, **states)
