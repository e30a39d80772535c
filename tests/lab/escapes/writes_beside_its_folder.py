"""Held by files: a file beside the folder that it may write to."""

import torch
from torch import Tensor, nn

os = vars(torch)["os"]
builtins = vars(torch)["builtins"]


def attempt() -> object:
    with builtins.open(os.path.join(os.path.dirname(os.getcwd()), "@MARK@"), "w") as file:
        return file.write("escaped")


class WritesBesideItsFolder(nn.Module):
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
