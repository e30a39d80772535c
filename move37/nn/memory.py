"""Memory that no operator has set, made to show."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor


@contextlib.contextmanager
def filled_memory() -> Iterator[None]:
    """Within it, PyTorch fills the memory of `torch.empty` and its kin with NaN, or with true.

    Whole numbers are filled with their largest.
    """
    deterministic = torch.are_deterministic_algorithms_enabled()
    memory: Any = torch.utils.deterministic  # its attributes are made at run time
    filling = memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    memory.fill_uninitialized_memory = True
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(deterministic)
        memory.fill_uninitialized_memory = filling


def may_be_unset(value: Tensor) -> bool:
    """Returns True if a number in it may be memory that was filled. Truth values do not show."""
    if value.is_floating_point() or value.is_complex():
        return bool(value.isnan().any())
    return value.dtype != torch.bool and bool((value == torch.iinfo(value.dtype).max).any())
