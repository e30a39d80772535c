"""Held by files: a module of move37, which the office would import."""

import torch
from torch import Tensor, nn

builtins = vars(torch)["builtins"]


def attempt() -> object:
    with builtins.open("@REPOSITORY@/move37/@MARK@.py", "w") as file:
        return file.write("escaped")


class WritesIntoThePackage(nn.Module):
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
