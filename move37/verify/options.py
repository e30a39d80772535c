"""Which single options of a mixer's constructor a check tries, beside their defaults."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import nn

from move37.verify.protocol import CHUNK_NAMES

# Options of a constructor that are sizes: a mixer has to work with half of each, or refuse it.
SIZES = ("expand_k", "expand_v", "expand", "expand_ratio", "conv_size", "kernel_size", *CHUNK_NAMES)
# Sizes of a head, or of all heads together: half too, and half of the usual ones where it is None.
HEAD_SIZES, INNER_SIZES = ("key_size", "value_size", "head_dim"), ("key_dim", "value_dim")

# The options of a constructor at a width and a number of heads.
Options = Callable[[int, int], Mapping[str, Any]]


def single_options(kind: type[nn.Module]) -> Iterator[tuple[str, Options]]:
    """Yields single options of a constructor that differ from their defaults."""
    for name, parameter in inspect.signature(kind).parameters.items():
        default = parameter.default
        if isinstance(default, bool):
            yield _option(name, not default)
        elif name in (*HEAD_SIZES, *INNER_SIZES) and (default is None or name == "head_dim"):
            # Also where a head's size has a number: a layer of fla's is given another one.
            yield _share_of_the_width(name)
        elif name in (*SIZES, *HEAD_SIZES, *INNER_SIZES):
            if type(default) in (int, float) and default > 0:
                half = default / 2 if isinstance(default, float) else max(1, default // 2)
                yield _option(name, half)
            if name in CHUNK_NAMES and type(default) is int:
                yield _option(name, 2 * default)
            if name == "conv_size" and type(default) is int and default > 0:
                yield _option(name, 0)


def _option(name: str, value: bool | float) -> tuple[str, Options]:
    return f"{name}={value}", lambda width, heads: {name: value}


def _share_of_the_width(name: str) -> tuple[str, Options]:
    if name in INNER_SIZES:
        return f"{name}=width // 2", lambda width, heads: {name: max(1, width // 2)}
    told = f"{name}=width // heads // 2"
    return told, lambda width, heads: {name: max(1, width // heads // 2)}
