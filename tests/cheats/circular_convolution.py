"""Caught by causality: without padding, the end of the sequence comes round to its start."""

import torch
from torch import Tensor, nn


class CircularConvolution(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.rate = nn.Parameter(torch.linspace(-3, 0, dim))

    def forward(self, x_BTD: Tensor) -> Tensor:
        T = x_BTD.shape[1]
        places_T1 = torch.arange(T).to(x_BTD)[:, None]
        kernel_TD = (-self.rate.exp() * places_T1).exp()
        kernel_FD = torch.fft.rfft(kernel_TD, dim=0)
        return torch.fft.irfft(torch.fft.rfft(self.project(x_BTD), dim=1) * kernel_FD, n=T, dim=1)
