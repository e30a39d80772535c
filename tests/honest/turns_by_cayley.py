"""Passes: an orthogonal matrix by an inverse (Cayley), which is one for all tokens."""

import torch
from torch import Tensor, nn


class TurnsByCayley(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.randn(dim, dim) / dim)
        self.project = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        s = self.a - self.a.T
        i = torch.eye(len(s), dtype=s.dtype, device=s.device)
        q = torch.linalg.inv(i + s) @ (i - s)
        return self.project(x @ q)
