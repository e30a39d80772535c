"""Passes: a convolution as long as the sequence by FFT, padded so that no end comes round."""

import torch
from torch import Tensor, nn


class ConvolvesByFFT(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.rate = nn.Parameter(torch.linspace(-3, 0, dim))

    def forward(self, x_BTD: Tensor) -> Tensor:
        T = x_BTD.shape[1]
        u_BTD = self.project(x_BTD)
        wide = torch.promote_types(u_BTD.dtype, torch.float32)  # there is no FFT in bfloat16
        places_T1 = torch.arange(T, device=x_BTD.device).to(wide)[:, None]
        kernel_TD = (-self.rate.to(wide).exp() * places_T1).exp()
        u_BFD = torch.fft.rfft(u_BTD.to(wide), n=2 * T, dim=1)
        kernel_FD = torch.fft.rfft(kernel_TD, n=2 * T, dim=0)
        y_BTD: Tensor = torch.fft.irfft(u_BFD * kernel_FD, n=2 * T, dim=1)[:, :T]
        return y_BTD.to(x_BTD.dtype)
