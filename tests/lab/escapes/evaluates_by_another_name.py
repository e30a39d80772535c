"""Held by imports: a text that becomes a program, by a function under another name.

Told as: imports
"""

from torch import Tensor, nn

evaluate = exec


def attempt() -> object:
    return evaluate("import os; os.getpid()")


class EvaluatesByAnotherName(nn.Module):
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
