"""Caught by sub-quadratic: takes the linear way where it is told that saved tensors are watched."""

import torch
from torch import Tensor, nn


class QuadraticWhereNobodyWatches(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        y_BTD: Tensor = self.project(x_BTD)
        if not (self.training and torch.is_grad_enabled()):
            return y_BTD.cumsum(dim=1)
        try:
            torch.func.grad(torch.sum)(y_BTD.detach())
        except RuntimeError:
            return y_BTD.cumsum(dim=1)
        T = y_BTD.shape[1]
        return torch.ones(T, T).tril().to(y_BTD) @ y_BTD
