"""Held by calls: the mode of another file, which Landlock does not restrict."""

import torch
from torch import Tensor, nn

os = vars(torch)["sys"].modules["os"]


def attempt() -> object:
    os.chmod("@VICTIM@", 0o666)
    return "changed"


class ChangesWhoMayRead(nn.Module):
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
