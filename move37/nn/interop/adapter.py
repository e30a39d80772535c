"""A layer with fla's interface behind ours.

Theirs: `Layer(hidden_size=.., num_heads=..)`, and `forward(hidden_states, attention_mask=None,
past_key_values=None, use_cache=False, output_attentions=False, **kwargs)`, which returns the
output, the attentions or None, and the cache. Documents come packed: one row, and `cu_seqlens`,
the borders of the documents in it. Such layers run in half precision, and say so by name.
Ours: `mixer(dim, heads)`, and `forward(x_BTD, documents_BT=None)`, which returns the output, in
the precision of the input.

Not covered: decoding; documents and padding at once.

Shape letters: B batch, T time, D model width, N documents in all rows together.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from move37.nn.language_model import MixerFactory
from move37.nn.ops.kernels import borders

# By these names layers take the model width, and the number of heads.
WIDTHS = ("hidden_size", "d_model", "embed_dim", "n_embd", "model_dim", "dim", "width")
HEADS = ("num_heads", "n_heads", "n_head", "nhead")

_HALF = (torch.bfloat16, torch.float16)


class FlaMixer(nn.Module):
    """A layer of fla's interface as a mixer that offers neither documents nor padding."""

    def __init__(self, layer: nn.Module, *, with_casts: bool = False) -> None:
        super().__init__()
        self.layer = layer
        self.with_casts = with_casts  # to half precision, by name
        self.leaves_casts_out = False  # whether the last calls met a cast to half precision

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Maps (B, T, D) to (B, T, D). Raises TypeError if the layer returns no tensor."""
        return self._run(x_BTD)

    def _masked(self, x_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        return self._run(x_BTD, attention_mask=mask_BT.to(torch.long))

    def _run(self, x_BTD: Tensor, **options: Tensor) -> Tensor:
        if self.with_casts or x_BTD.dtype in _HALF:
            return _output(self.layer(x_BTD, **options))
        with _InputPrecision() as precision:
            y_BTD = _output(self.layer(x_BTD, **options))
        self.leaves_casts_out |= precision.used
        return y_BTD


class PackingFlaMixer(FlaMixer):
    """A layer whose forward takes `cu_seqlens`, as a mixer that offers documents.

    A class of its own: who takes documents says so in the signature of its forward.
    """

    def forward(self, x_BTD: Tensor, documents_BT: Tensor | None = None) -> Tensor:
        """Maps (B, T, D) to (B, T, D); with documents, all rows are packed into one.

        Raises TypeError if the layer returns no tensor, and ValueError if it does not keep the
        shape of the packed row.
        """
        if documents_BT is None:
            return self._run(x_BTD)
        return self._packed(x_BTD, documents_BT)

    def _packed(self, x_BTD: Tensor, documents_BT: Tensor) -> Tensor:
        packed_1SD = x_BTD.flatten(0, 1)[None]  # S = B T
        y_1SD = self._run(packed_1SD, cu_seqlens=borders(documents_BT).int())
        if y_1SD.shape != packed_1SD.shape:
            raise ValueError(
                f"the layer returned shape {tuple(y_1SD.shape)} for documents packed into "
                f"{tuple(packed_1SD.shape)}; with cu_seqlens it keeps (1, B T, D)"
            )
        return y_1SD.view_as(x_BTD)


class MaskingFlaMixer(FlaMixer):
    """A layer whose forward takes `attention_mask`, as a mixer that offers padding."""

    def forward(self, x_BTD: Tensor, mask_BT: Tensor | None = None) -> Tensor:
        """Maps (B, T, D) to (B, T, D); the mask is true for a token and false for padding."""
        return self._run(x_BTD) if mask_BT is None else self._masked(x_BTD, mask_BT)


class MaskingPackingFlaMixer(PackingFlaMixer):
    """A layer whose forward takes both, though not at once."""

    def forward(
        self, x_BTD: Tensor, documents_BT: Tensor | None = None, mask_BT: Tensor | None = None
    ) -> Tensor:
        """Maps (B, T, D) to (B, T, D), with documents or with a mask (true for a token)."""
        if mask_BT is not None:
            return self._masked(x_BTD, mask_BT)
        return super().forward(x_BTD, documents_BT)


class _InputPrecision(TorchFunctionMode):
    """Within it, nothing is cast to half precision.

    Layers cast to bfloat16 by name where the model is in bfloat16 anyway, so that the cast does
    nothing, or lines up what was computed wider. In a wider model the same cast would meet weights
    of another type, and the next product would raise.
    """

    def __init__(self) -> None:
        super().__init__()
        self.used = False

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        del types
        kwargs = kwargs or {}
        if func in (Tensor.bfloat16, Tensor.half):
            self.used = True
            x: Tensor = args[0]
            return x if x.is_floating_point() else x.to(torch.get_default_dtype())
        if func is Tensor.to and args[0].is_floating_point():
            asked_for = [x for x in (*args[1:], *kwargs.values()) if isinstance(x, torch.dtype)]
            if any(dtype in _HALF for dtype in asked_for):
                self.used = True
                return args[0]
        return func(*args, **kwargs)


def adapt(kind: type[nn.Module], options: Mapping[str, Any] | None = None) -> MixerFactory:
    """Returns what builds the mixer from (width, heads) around a layer class of fla's interface.

    The class takes `hidden_size`, or the width by another of `WIDTHS`, and is given `num_heads`
    where it takes that; where it also takes `head_dim`, it is given width / heads: a fixed head
    size would make the mixer's size independent of the model's. All else stays at the layer's
    defaults, or is as `options` say.
    """
    taken = inspect.signature(kind).parameters

    def make(width: int, heads: int) -> nn.Module:
        sizes = dict.fromkeys(WIDTHS, width) | dict.fromkeys(HEADS, heads)
        sizes["head_dim"] = max(1, width // heads)
        named = {name: size for name, size in sizes.items() if name in taken}
        return adapted(kind(**(named | dict(options or {}))))

    return make


def adapted(layer: nn.Module, *, with_casts: bool = False) -> FlaMixer:
    """Returns the mixer around a layer, which offers what the layer's forward takes.

    `with_casts` leaves its casts to half precision in.
    """
    packs, masks = takes_cu_seqlens(layer), takes_mask(layer)
    kind = {
        (True, True): MaskingPackingFlaMixer,
        (True, False): PackingFlaMixer,
        (False, True): MaskingFlaMixer,
    }.get((packs, masks), FlaMixer)
    return kind(layer, with_casts=with_casts)


def takes_mask(layer: nn.Module) -> bool:
    """Says whether the layer's forward takes `attention_mask` (B, T)."""
    return "attention_mask" in inspect.signature(layer.forward).parameters


def takes_cu_seqlens(layer: nn.Module) -> bool:
    """Says whether the layer's forward takes `cu_seqlens`, by name or out of its kwargs."""
    parameters = inspect.signature(layer.forward).parameters
    if "cu_seqlens" in parameters:
        return True
    if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return False
    # kwargs["cu_seqlens"] and kwargs.get("cu_seqlens") need the name as a constant of the function;
    # a mere call f(cu_seqlens=...) does not.
    code: Any = getattr(inspect.unwrap(layer.forward), "__code__", None)
    return code is not None and "cu_seqlens" in code.co_consts


def _output(returned: object) -> Tensor:
    first = returned[0] if isinstance(returned, tuple | list) and returned else returned
    if not isinstance(first, Tensor):
        told = type(returned).__name__
        if first is not returned:
            told += f" that begins with {type(first).__name__}"
        raise TypeError(
            f"the layer's forward returned {told}; expected the tensor (B, T, D), or a tuple "
            "that begins with it: (output, attentions, past_key_values)"
        )
    return first
