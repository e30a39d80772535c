"""Held by files: the environment of the process that watches over it."""

import torch
from torch import Tensor, nn

os = vars(nn.functional)["torch"].sys.modules["os"]
builtins = vars(torch)["builtins"]


def attempt() -> object:
    with builtins.open(f"/proc/{os.getppid()}/environ", "rb") as file:
        return file.read(100)


class ReadsTheEnvironmentOfItsWarden(nn.Module):
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
