"""Passes: whole chunks by products, what is left over token by token: two ways to one result."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHUNK = 16


class BranchesOnTheRemainder(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = max(1, dim // heads)
        self.project_in = nn.Linear(dim, heads * self.head_dim)
        self.rate = nn.Parameter(torch.linspace(-4, 0, heads))
        self.project_out = nn.Linear(heads * self.head_dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        v_BTHV = self.project_in(x_BTD).unflatten(-1, (self.heads, -1))
        log_decay_H = -F.softplus(self.rate).to(v_BTHV.dtype)
        state_BHV = v_BTHV.new_zeros(v_BTHV.shape[0], *v_BTHV.shape[2:])
        left = x_BTD.shape[1] % CHUNK
        whole, rest = v_BTHV.split([x_BTD.shape[1] - left, left], dim=1)
        outputs = []
        if whole.shape[1] > 0:
            o, state_BHV = _by_chunks(whole, log_decay_H, state_BHV)
            outputs.append(o)
        if left:
            for v_BHV in rest.unbind(dim=1):
                state_BHV = log_decay_H.exp()[:, None] * state_BHV + v_BHV
                outputs.append(state_BHV[:, None])
        y_BTD: Tensor = self.project_out(torch.cat(outputs, dim=1).flatten(-2))
        return y_BTD


def _by_chunks(v_BTHV: Tensor, log_decay_H: Tensor, state_BHV: Tensor) -> tuple[Tensor, Tensor]:
    places_C = torch.arange(CHUNK, device=v_BTHV.device).to(v_BTHV.dtype)
    between_CC = (places_C[:, None] - places_C[None]).clamp(min=0)
    decay_HCC = (between_CC * log_decay_H[:, None, None]).exp().tril()
    into_CH1 = ((places_C[:, None] + 1) * log_decay_H).exp()[..., None]
    own_BNCHV = torch.einsum("hcs,bnshv->bnchv", decay_HCC, v_BTHV.unflatten(1, (-1, CHUNK)))
    outputs = []
    for own_BCHV in own_BNCHV.unbind(dim=1):
        outputs.append(own_BCHV + into_CH1 * state_BHV[:, None])
        state_BHV = outputs[-1].unbind(dim=1)[-1]
    return torch.cat(outputs, dim=1), state_BHV
