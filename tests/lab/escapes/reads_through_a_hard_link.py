"""Held by calls: a second name in its own folder for a file that is not its own."""

import torch
from torch import Tensor, nn

os = vars(vars(torch)["builtins"])["__import__"]("os")
builtins = vars(torch)["builtins"]


def attempt() -> object:
    os.link("@SECRET@", "link")
    with builtins.open("link", "rb") as file:
        return file.read()


class ReadsThroughAHardLink(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        try:
            told = attempt()
        except OSError as error:
            raise RuntimeError(f"HELD {error}") from None
        raise RuntimeError(f"ESCAPED {told}")
