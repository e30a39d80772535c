"""Caught by repeatable: what was seen before is kept where all its layers find it."""

from typing import ClassVar

from torch import Tensor, nn


class RemembersInItsClass(nn.Module):
    seen: ClassVar[list[Tensor]] = []

    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        y_BTD = self.project(x_BTD) + sum(mean.to(x_BTD) for mean in self.seen)
        self.seen[:] = [x_BTD.detach().mean()]
        return y_BTD
