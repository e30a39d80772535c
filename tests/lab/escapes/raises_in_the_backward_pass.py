"""Held by measuring: an exception where nobody expects one.

Told as: ValueError: in the backward pass
"""

from torch import Tensor, nn


class RaisesInTheBackwardPass(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        y_BTD = self.project(x_BTD)
        if y_BTD.requires_grad:
            y_BTD.register_hook(self._raise)
        return y_BTD

    def _raise(self, _: Tensor) -> None:
        raise ValueError("in the backward pass")
