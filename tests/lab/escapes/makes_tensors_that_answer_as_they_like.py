"""Held by imports: a kind of tensor that decides what every operator returns.

Told as: imports
"""

import torch
from torch import Tensor, nn


class Liar(Tensor):
    @classmethod
    def __torch_function__(cls, *_: object, **__: object) -> Tensor:
        return torch.zeros(1)


def attempt() -> object:
    return torch.ones(1).as_subclass(Liar) + 1


class MakesTensorsThatAnswerAsTheyLike(nn.Module):
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
