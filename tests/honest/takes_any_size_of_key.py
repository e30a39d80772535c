"""Passes: keys and values of any size, and a convolution whose size of zero the forward refuses."""

import torch
from torch import Tensor, nn

from move37.nn import ops


class TakesAnySizeOfKey(nn.Module):
    slopes_H: Tensor
    past_JJ: Tensor

    def __init__(
        self,
        dim: int,
        *,
        heads: int,
        key_size: int | None = None,
        value_dim: int | None = None,
        conv_size: int = 4,
    ) -> None:
        super().__init__()
        self.heads = heads
        key_size, value_dim = key_size or max(1, dim // heads), value_dim or heads * (dim // heads)
        self.project_k = nn.Linear(dim, heads * key_size)
        self.project_v = nn.Linear(dim, value_dim)
        self.convolve = nn.Conv1d(
            value_dim, value_dim, conv_size, groups=value_dim, padding=conv_size - 1
        )
        self.project_out = nn.Linear(value_dim, dim)
        self.register_buffer("slopes_H", torch.empty(heads), persistent=False)
        self.register_buffer("past_JJ", torch.empty(8, 8, dtype=torch.bool), persistent=False)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        for part in (self.project_k, self.project_v, self.convolve, self.project_out):
            part.reset_parameters()
        self.slopes_H.copy_(torch.linspace(0.5, 1, self.heads))
        self.past_JJ.copy_(torch.ones(8, 8).tril())

    def forward(self, x_BTD: Tensor) -> Tensor:
        v_BTI = self.convolve(self.project_v(x_BTD).transpose(1, 2))[..., : x_BTD.shape[1]]
        v = v_BTI.transpose(1, 2).unflatten(2, (self.heads, -1))
        k = self.project_k(x_BTD).unflatten(2, (self.heads, -1))
        k = torch.nn.functional.normalize(k, dim=-1)
        beta_BTH = self.slopes_H.to(k).expand(k.shape[:3])
        y_BTD: Tensor = self.project_out(ops.delta_rule(k, k, v, beta_BTH).flatten(2))
        return y_BTD
