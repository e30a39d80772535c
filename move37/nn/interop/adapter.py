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
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from move37.nn.language_model import MixerFactory
from move37.nn.ops.kernels import borders

# By these names layers take the model width, and the number of heads.
WIDTHS = ("hidden_size", "d_model", "embed_dim", "n_embd", "model_dim", "dim", "width")
HEADS = (
    "num_heads",
    "n_heads",
    "n_head",
    "nhead",
    "nheads",
    "num_head",
    "num_attention_heads",
    "n_attention_heads",
    "attention_heads",
    "heads",
)
# By these, the number of heads of keys and values; a layer with None there computes it itself.
KEY_VALUE_HEADS = ("num_kv_heads", "num_key_value_heads", "n_kv_heads", "num_kv_head")
# By these, the size of a head of keys or of values; a layer with None there computes it itself.
HEAD_SIZES = (
    "head_k_dim",
    "head_v_dim",
    "head_qk_dim",
    "head_size",
    "dim_head",
    "d_head",
    "headdim",
)

_HALF = (torch.bfloat16, torch.float16)
# Beside "head" in a name, these words make it a number of heads.
_COUNTS = frozenset({"n", "nb", "nr", "num", "number", "count"})
_SIZES = frozenset({"dim", "dims", "size", "width", "channels"})  # and these the size of one


class FlaMixer(nn.Module):
    """A layer of fla's interface as a mixer that offers neither documents nor padding."""

    def __init__(self, layer: nn.Module, *, with_casts: bool = False) -> None:
        super().__init__()
        self.layer = layer
        self.with_casts = with_casts  # to a narrower type, by name
        self.leaves_casts_out = False  # whether the last calls met such a cast
        # A layer that cannot be called without a mask is called with None.
        mask = inspect.signature(layer.forward).parameters.get("attention_mask")
        needs_mask = mask is not None and mask.default is mask.empty
        self._always: dict[str, None] = {"attention_mask": None} if needs_mask else {}
        # How many tensors with a graph the last call returned beside the output, and left unread.
        self.drops_of_the_graph = 0

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Maps (B, T, D) to (B, T, D). Raises TypeError if the layer returns no tensor."""
        return self._run(x_BTD)

    def _masked(self, x_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        if mask_BT.dtype != torch.bool:
            raise ValueError(
                f"expected a boolean mask (true for a token), got {mask_BT.dtype}; if these are "
                "numbers of documents: the layer offers none, its forward takes no cu_seqlens"
            )
        return self._run(x_BTD, attention_mask=mask_BT.to(torch.long))

    def _run(self, x_BTD: Tensor, **given: Tensor) -> Tensor:
        options: dict[str, Any] = {**self._always, **given}
        # Autocast makes tensors narrower than a float32 input, and casts to their types are needed;
        # it leaves float64 as it is.
        autocast = torch.is_autocast_enabled(x_BTD.device.type)
        narrow = x_BTD.dtype in _HALF or (autocast and x_BTD.dtype == torch.float32)
        if self.with_casts or narrow:
            returned = self.layer(x_BTD, **options)
        else:
            with _InputPrecision(x_BTD.dtype) as precision:
                returned = self.layer(x_BTD, **options)
            self.leaves_casts_out |= precision.used
        beside = returned[1:] if isinstance(returned, tuple | list) else ()
        self.drops_of_the_graph = sum(
            isinstance(item, Tensor) and item.requires_grad for item in beside
        )
        return _output(returned)


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
        """Maps (B, T, D) to (B, T, D), with documents or with a mask (true for a token).

        Raises ValueError for both: the layer takes `cu_seqlens` or `attention_mask`.
        """
        if mask_BT is not None and documents_BT is not None:
            raise ValueError(
                "expected documents_BT or mask_BT, got both: give the padding a document number "
                "of its own in documents_BT, and leave mask_BT out"
            )
        if mask_BT is not None:
            return self._masked(x_BTD, mask_BT)
        return super().forward(x_BTD, documents_BT)


class _InputPrecision(TorchFunctionMode):
    """Within it, a type told by name that is narrower than the input's stands for the input's.

    Layers cast to bfloat16 by name where the model is in bfloat16 anyway, so that the cast does
    nothing, or lines up what was computed wider, and to float32 what is narrower. In a wider model
    the same cast would meet weights of another type, and the next product would raise.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self._dtype = dtype
        self.used = False

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        del types
        kwargs = kwargs or {}
        if func in _CASTS:  # x.float() is x.to(torch.float32)
            func, args = Tensor.to, (args[0], _CASTS[func])
        if func in (Tensor.to, Tensor.type):
            told = next((x for x in (*args[1:], *kwargs.values()) if _is_float(x)), None)
        else:  # softmax(x, dtype=torch.float32), zeros(3, dtype=torch.float32)
            told = kwargs.get("dtype")
        if not _is_float(told) or told.itemsize >= self._dtype.itemsize:
            return func(*args, **kwargs)
        self.used = True
        args = tuple(self._dtype if x is told else x for x in args)
        kwargs = {name: self._dtype if x is told else x for name, x in kwargs.items()}
        result = func(*args, **kwargs)
        # A cast makes new memory, which a layer may write to.
        return result.clone() if args and result is args[0] and result.dtype != told else result


def _is_float(value: Any) -> TypeGuard[torch.dtype]:
    return isinstance(value, torch.dtype) and value.is_floating_point


_CASTS = {
    Tensor.float: torch.float32,
    Tensor.bfloat16: torch.bfloat16,
    Tensor.half: torch.float16,
}


def adapt(kind: type[nn.Module], options: Mapping[str, Any] | None = None) -> MixerFactory:
    """Returns what builds the mixer from (width, heads) around a layer class of fla's interface.

    The class takes `hidden_size`, or the width by another of `WIDTHS`, and is given the heads where
    it takes `num_heads` or another of `HEADS`; where it also takes `head_dim`, or has a number for
    another of `HEAD_SIZES` (or for `expand_ratio`, and None for the heads), it is given width /
    heads, times `expand` if it takes that: a fixed head size would make the mixer's size
    independent of the model's. A number for one of `KEY_VALUE_HEADS` becomes the heads, and a layer
    that takes both `layer_idx` and `num_hidden_layers` is the first of two layers. All else stays
    at the layer's defaults, or is as `options` say.

    Raises TypeError for a class that takes a number of heads by other names only: it would keep its
    own number, whatever is asked for.
    """
    taken = inspect.signature(kind).parameters
    given = dict(options or {})
    _check_heads(kind.__name__, taken, given)
    sized, wider = _head_sizes(taken), _expansion(taken, given)
    grouped = [name for name in KEY_VALUE_HEADS if name in taken and taken[name].default]
    # Some layers need the values of the first layer, which only the first layer computes.
    at = {"layer_idx": 0, "num_hidden_layers": 2}

    def make(width: int, heads: int) -> nn.Module:
        sizes = dict.fromkeys(WIDTHS, width) | dict.fromkeys((*HEADS, *grouped), heads)
        sizes |= dict.fromkeys(sized, max(1, int(width * wider) // heads))
        sizes |= at if at.keys() <= taken.keys() else {}
        named = {name: size for name, size in sizes.items() if name in taken}
        return adapted(kind(**(named | given)))

    return make


def _head_sizes(taken: Mapping[str, inspect.Parameter]) -> list[str]:
    sized = [name for name in HEAD_SIZES if name in taken and taken[name].default is not None]
    if "head_dim" in taken:
        return ["head_dim", *sized]
    # Layers of fla's (HGRN2) that count their heads themselves divide the width by this.
    counted = any(name in taken and taken[name].default is None for name in HEADS)
    if counted and "expand_ratio" in taken and type(taken["expand_ratio"].default) is int:
        return ["expand_ratio", *sized]
    return sized


def _expansion(taken: Mapping[str, inspect.Parameter], given: Mapping[str, Any]) -> float:
    """Returns by how much the heads together are wider than the model: Mamba-2's `expand`."""
    if "expand" not in taken or "head_dim" not in taken:
        return 1.0
    found = given.get("expand", taken["expand"].default)
    return float(found) if isinstance(found, int | float) else 1.0


def _check_heads(
    layer: str, taken: Mapping[str, inspect.Parameter], given: Mapping[str, Any]
) -> None:
    if any(name in taken for name in HEADS):
        return
    counts = [name for name in taken if _counts_heads(taken[name])]
    if counts and not any(name in given for name in counts):
        raise TypeError(
            f"{layer} takes a number of heads as {' and '.join(counts)}; expected one of "
            f"{', '.join(HEADS)}: rename it, or put the layer behind a class that takes "
            "(dim, *, heads), see docs/add-a-mixer.md"
        )


def _counts_heads(parameter: inspect.Parameter) -> bool:
    """Says whether the parameter is a number of heads: num_query_heads, head_count."""
    default = parameter.default
    if default not in (None, parameter.empty) and type(default) is not int:
        return False
    words = parameter.name.lower().split("_")
    if words[-1] in _SIZES or "across" in words:
        return False
    return "heads" in words or ("head" in words and not _COUNTS.isdisjoint(words))


def adapted(layer: nn.Module, *, with_casts: bool = False) -> FlaMixer:
    """Returns the mixer around a layer, which offers what the layer's forward takes.

    `with_casts` leaves its casts to a narrower type in.
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
