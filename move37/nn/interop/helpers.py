"""What layers import from `fla.ops.utils`, `fla.utils`, `fla.modules.token_shift` and other layers.

The same names, arguments and results as there.

Shape letters: B batch, T time, D width, H heads, K key size, N sequences packed into a row.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from move37.nn.interop.modules import check_packed, document_numbers, wide

_Function = TypeVar("_Function", bound=Callable[..., Any])

RCP_LN2 = 1.4426950216293335  # 1 / log 2, as a float32


def tensor_cache(function: _Function) -> _Function:
    """Returns the function itself: nothing is kept between calls."""
    return function


# ---------------------------------------------------------------- packed rows


def prepare_lens(cu_seqlens: Tensor) -> Tensor:
    """Returns (N,): the lengths of packed sequences."""
    return cu_seqlens.diff()


def prepare_lens_from_mask(mask: Tensor) -> Tensor:
    """Returns (B,): the number of tokens under the mask (B, T)."""
    return mask.sum(dim=-1, dtype=torch.int32)


def prepare_cu_seqlens_from_lens(lens: Tensor, dtype: torch.dtype | None = torch.int32) -> Tensor:
    """Returns (N + 1,): the borders of sequences of these lengths."""
    return F.pad(lens.cumsum(dim=0, dtype=dtype), (1, 0))


def prepare_cu_seqlens_from_mask(mask: Tensor, dtype: torch.dtype | None = torch.int32) -> Tensor:
    """Returns (B + 1,): the borders of the tokens of each row of the mask (B, T)."""
    return prepare_cu_seqlens_from_lens(prepare_lens_from_mask(mask), dtype)


def prepare_sequence_ids(cu_seqlens: Tensor, cu_seqlens_cpu: Tensor | None = None) -> Tensor:
    """Returns (T,): the number of the sequence of each position."""
    del cu_seqlens_cpu
    return document_numbers(cu_seqlens, int(cu_seqlens[-1]))[0].to(cu_seqlens.dtype)


def prepare_position_ids(cu_seqlens: Tensor, cu_seqlens_cpu: Tensor | None = None) -> Tensor:
    """Returns (T,): the position of each token within its sequence."""
    number_T = prepare_sequence_ids(cu_seqlens, cu_seqlens_cpu)
    place_T = torch.arange(len(number_T), device=cu_seqlens.device, dtype=cu_seqlens.dtype)
    return place_T - cu_seqlens[number_T.long()]


def chunk_global_cumsum(
    s: Tensor,
    reverse: bool = False,
    cu_seqlens: Tensor | None = None,
    scale: float | None = None,
    output_dtype: torch.dtype | None = torch.float,
    **_: object,
) -> Tensor:
    """Returns scale times the sums of s (B, T, ...) up to each position of its sequence.

    With `reverse`, from each position to the end. float64 stays as it is.
    """
    check_packed(s, cu_seqlens)
    dtype = s.dtype if output_dtype is None or s.dtype == torch.float64 else output_dtype
    sizes = [s.shape[1]] if cu_seqlens is None else cu_seqlens.diff().tolist()
    parts = wide(s).split(sizes, dim=1)
    if reverse:
        total = torch.cat([x.flip(1).cumsum(dim=1).flip(1) for x in parts], dim=1)
    else:
        total = torch.cat([x.cumsum(dim=1) for x in parts], dim=1)
    return (total if scale is None else total * scale).to(dtype)


def token_shift(
    x: Tensor,
    cu_seqlens: Tensor | None = None,
    cache: Tensor | None = None,
    output_cache: bool = False,
    **_: object,  # how fla splits the work: chunk_indices
) -> Any:
    """Returns x_{t-1} - x_t (B, T, D), and the last x of each sequence (N, D) if `output_cache`.

    Before the first token of a sequence stands its cache (N, D), or zero.
    """
    check_packed(x, cu_seqlens, cache)
    parts = [x] if cu_seqlens is None else x.split(cu_seqlens.diff().tolist(), dim=1)
    if cache is None:
        first = [torch.zeros_like(part[:, :1]) for part in parts]
    elif cu_seqlens is None:
        first = [cache.view(x.shape[0], 1, -1).to(x.dtype)]
    else:
        first = [each.view(1, 1, -1).to(x.dtype) for each in cache]
    earlier = [torch.cat([a, b[:, :-1]], dim=1) for a, b in zip(first, parts, strict=True)]
    delta = torch.cat(earlier, dim=1) - x
    if not output_cache:
        return delta
    return delta, torch.cat([part[:, -1] for part in parts])


# ---------------------------------------------------------------- parts of other layers


_ACTIVATIONS: dict[str | None, type[nn.Module]] = {
    None: nn.Identity,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
}


class LoRA(nn.Module):
    """A linear map through `low_rank_dim` channels, with an activation; of `fla.layers.rwkv6`.

    The first map starts at zero, so that the module starts as its bias.
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        low_rank_dim: int,
        bias: bool | None = True,
        activation: str | None = "tanh",
    ) -> None:
        super().__init__()
        if activation not in _ACTIVATIONS:
            known = ", ".join(str(name) for name in _ACTIVATIONS)
            raise ValueError(f"expected activation {known}, got {activation}")
        self.activation = _ACTIVATIONS[activation]()
        self.bias = bias
        first = nn.Linear(input_dim, low_rank_dim, bias=False)
        second = nn.Linear(low_rank_dim, output_dim, bias=bool(bias))
        self.lora = nn.Sequential(first, self.activation, second)
        self._initialize_weights(self)

    def _initialize_weights(self, module: nn.Module) -> None:
        del module  # fla's layers call this for their parts
        first, second = self._maps()
        nn.init.zeros_(first.weight)
        outputs, inputs = second.weight.shape
        nn.init.orthogonal_(second.weight, gain=0.1 * max(1.0, inputs / outputs) ** 0.5)
        if self.bias:
            nn.init.zeros_(second.bias)

    def _maps(self) -> tuple[nn.Linear, nn.Linear]:
        first, _, second = self.lora
        assert isinstance(first, nn.Linear)
        assert isinstance(second, nn.Linear)
        return first, second

    @torch.no_grad()
    def set_bias_value(self, value: Tensor | float) -> None:
        """Sets the bias, if there is one."""
        if self.bias:
            bias = self._maps()[1].bias
            bias.copy_(torch.as_tensor(value, dtype=bias.dtype).expand_as(bias))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.lora(x)
        return y


def apply_mask_to_padding_states(hidden_states: Tensor, attention_mask: Tensor | None) -> Tensor:
    """Clears the padding of (B, T, D), if the mask is (B, T); of `fla.layers.mamba2`."""
    if attention_mask is None or attention_mask.shape != hidden_states.shape[:2]:
        return hidden_states
    return hidden_states * attention_mask[..., None].to(hidden_states.dtype)
