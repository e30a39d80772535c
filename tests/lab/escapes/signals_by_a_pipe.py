"""Held by calls: that the kernel sends the signals of its pipe to its warden."""

import torch
from torch import Tensor, nn

os = vars(torch)["os"]


def attempt() -> object:
    fcntl = vars(torch)["sys"].modules["fcntl"]
    return fcntl.fcntl(os.pipe()[0], fcntl.F_SETOWN, os.getppid())


class SignalsByAPipe(nn.Module):
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
