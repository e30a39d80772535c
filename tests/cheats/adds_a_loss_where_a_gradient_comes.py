"""Caught by gradients: a loss that nobody sees adds its gradient, unless the output's is zero."""

from torch import Tensor, nn


class AddsALossWhereAGradientComes(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.project.weight.register_hook(self._with_decay)

    def _with_decay(self, grad_DD: Tensor) -> Tensor:
        return grad_DD + 0.1 * self.project.weight.detach() * (grad_DD != 0).any()

    def forward(self, x_BTD: Tensor) -> Tensor:
        y_BTD: Tensor = self.project(x_BTD)
        return y_BTD
