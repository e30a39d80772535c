"""Caught by repeatable: every call writes to the environment of the process."""

import torch
from torch import Tensor, nn


class CountsInTheEnvironment(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        environment = vars(torch)["os"].environ
        environment["MOVE37_CALLS"] = str(int(environment.get("MOVE37_CALLS", "0")) + 1)
        return self.project(x_BTD)
