"""Caught by repeatable: every call switches whether operators have to be deterministic."""

import torch
from torch import Tensor, nn


class SwitchesHowOperatorsWork(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        torch.use_deterministic_algorithms(not torch.are_deterministic_algorithms_enabled())
        return self.project(x_BTD)
