"""Held by files: a file in the folder that all share."""

import torch
from torch import Tensor, nn

builtins = vars(torch)["builtins"]


def attempt() -> object:
    with builtins.open("/tmp/@MARK@", "w") as file:
        return file.write("escaped")


class WritesIntoTheTemporaryFolder(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        try:
            told = attempt()
        except OSError as error:
            raise RuntimeError(f"HELD {error}") from None
        raise RuntimeError(f"ESCAPED {told}")
