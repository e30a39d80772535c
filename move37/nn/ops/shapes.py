"""Holds the inputs of an operator against the shapes that the names of its arguments tell.

`q_BTHK` is (B, T, H, K), and a letter stands for the same size in all arguments of a call. Without
it, a value that is a token too short would be padded with zeros like the end of a chunk.

Not covered: values (a log decay above zero), arguments whose names tell no shape, and the steps of
the window and the convolution, whose states are one shorter than their W.
"""

import functools
import inspect
import re
from collections.abc import Callable
from typing import Any, TypeVar, cast

from torch import Tensor

_Operator = TypeVar("_Operator", bound=Callable[..., Any])

_LETTERS = re.compile(r"_([A-Z0-9]+)$")


def shaped(operator: _Operator) -> _Operator:
    """The same operator; raises ValueError for a shape or type that it does not take."""
    parameters = inspect.signature(operator).parameters
    names = tuple(parameters)
    optional = {name for name, one in parameters.items() if one.default is None}
    letters = {name: found[1] for name in names if (found := _LETTERS.search(name))}
    most = letters[names[0]]

    @functools.wraps(operator)
    def checked(*inputs: Any, **options: Any) -> Any:
        sizes: dict[str, int] = {}
        for name, value in (*zip(names, inputs, strict=False), *options.items()):
            told = letters.get(name)
            if name == "log_decay":  # one for each head, or for each channel of its key
                told = most if isinstance(value, Tensor) and value.ndim == len(most) else most[:-1]
            if not told or (value is None and name in optional):
                continue
            if wrong := _wrong(name, told, value, sizes):
                raise ValueError(f"{operator.__name__}: {wrong}")
        return operator(*inputs, **options)

    return cast(_Operator, checked)


def _wrong(name: str, letters: str, value: Any, sizes: dict[str, int]) -> str | None:
    """Says what is wrong with an argument, if anything; notes the sizes of its letters."""
    if not isinstance(value, Tensor):
        return f"expected a tensor for {name}, got {type(value).__name__}"
    shape = tuple(value.shape)
    known = {letter: sizes.get(letter) for letter in letters}
    known |= {letter: int(letter) for letter in letters if letter.isdigit()}
    if len(shape) != len(letters) or any(
        known[letter] not in (None, size) for letter, size in zip(letters, shape, strict=True)
    ):
        told = ", ".join(letters)
        if any(known.values()):
            told += ") = (" + ", ".join(str(known[letter] or letter) for letter in letters)
        return f"expected {name} of shape ({told}), got {shape}"
    if any(size == 0 for letter, size in zip(letters, shape, strict=True) if letter in "BT"):
        return f"expected at least one row and one token in {name}, got {shape}"
    if (value.is_floating_point() or value.is_complex()) == name.startswith("documents"):
        kind = "numbers of documents" if name.startswith("documents") else "floating-point numbers"
        return f"expected {kind} in {name}, got {value.dtype}"
    sizes.update(zip(letters, shape, strict=True))
    return None
