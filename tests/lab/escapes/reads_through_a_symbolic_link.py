"""Held by calls: a link in its own folder to a file that is not its own."""

import torch
from torch import Tensor, nn

os = vars(torch)["sys"].modules["os"]
builtins = vars(torch)["builtins"]


def attempt() -> object:
    os.symlink("@SECRET@", "link")
    with builtins.open("link", "rb") as file:
        return file.read()


class ReadsThroughASymbolicLink(nn.Module):
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
