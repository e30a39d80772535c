"""Held by imports: a module that is imported late.

Told as: imports
"""

from torch import Tensor, nn


def attempt() -> object:
    import socket

    return socket.gethostname()


class ImportsWithinAFunction(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        try:
            told = attempt()
        except OSError as error:
            raise RuntimeError(f"HELD {error}") from None
        raise RuntimeError(f"ESCAPED {told}")
