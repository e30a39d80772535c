"""Held by files: a file that every Python here runs when it starts."""

import torch
from torch import Tensor, nn

os = vars(torch)["os"]
builtins = vars(torch)["builtins"]
PLACE = os.path.join(os.path.dirname(vars(torch)["__file__"]), "../@MARK@.pth")


def attempt() -> object:
    with builtins.open(PLACE, "w") as file:
        return file.write("escaped")


class WritesIntoTheSitePackages(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        try:
            told = attempt()
        except OSError as error:
            raise RuntimeError(f"HELD {error}") from None
        raise RuntimeError(f"ESCAPED {told}")

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD)
