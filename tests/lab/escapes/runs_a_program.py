"""Held by calls: a program, by subprocess."""

import torch
from torch import Tensor, nn

subprocess = vars(torch)["importlib"].import_module("subprocess")


def attempt() -> object:
    return subprocess.run(["true"], check=True)


class RunsAProgram(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        try:
            told = attempt()
        except OSError as error:
            raise RuntimeError(f"HELD {error}") from None
        raise RuntimeError(f"ESCAPED {told}")
