"""Passes: top-k over time, but of the last 16 tokens, which all lie in the past."""

import torch.nn.functional as F
from torch import Tensor, nn

WINDOW, BEST = 16, 4


class TakesTheBestOfAWindow(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = max(1, dim // heads)
        inner = heads * self.head_dim
        self.project_qkv = nn.Linear(dim, 3 * inner)
        self.project_out = nn.Linear(inner, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        qkv = self.project_qkv(x_BTD).unflatten(-1, (3 * self.heads, -1))
        q_BTHK, k_BTHK, v_BTHV = qkv.chunk(3, dim=-2)
        k_BTHKW, v_BTHVW = _windows(k_BTHK), _windows(v_BTHV)
        score_BTHW = (q_BTHK[..., None, :] @ k_BTHKW)[..., 0, :] / self.head_dim**0.5
        there_TW = _windows(x_BTD.new_ones(1, x_BTD.shape[1], 1, 1))[0, :, 0] > 0
        score_BTHW = score_BTHW.masked_fill(~there_TW, float("-inf"))
        best_BTHW, places_BTHW = score_BTHW.topk(BEST, dim=-1)
        places = places_BTHW[..., None, :].expand(*v_BTHVW.shape[:-1], -1)
        o_BTHV = (v_BTHVW.gather(-1, places) * best_BTHW.softmax(dim=-1)[..., None, :]).sum(dim=-1)
        y_BTD: Tensor = self.project_out(o_BTHV.flatten(-2))
        return y_BTD


def _windows(x_BTHK: Tensor) -> Tensor:
    """Returns the last tokens of each place, (B, T, H, K, W); zeros before the first."""
    return F.pad(x_BTHK, (0, 0, 0, 0, WINDOW - 1, 0)).unfold(1, WINDOW, 1)
