"""Held by imports: a verdict of its own, by the modules that are behind one that it may import.

Told as: imports
"""

import warnings

from torch import Tensor, nn


def attempt() -> object:
    causality = warnings.sys.modules["move37.verify.causality"]  # type: ignore[attr-defined]
    causality.check_causality = lambda subject: None
    return causality


class ReplacesACheck(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD)


try:
    told = attempt()
except OSError as error:
    raise RuntimeError(f"HELD {error}") from None
raise RuntimeError(f"ESCAPED {told}")
