"""Caught by sub-quadratic: all pairs in the backward pass, while that of a slice runs."""

from torch import Tensor, nn


def _with_pairs(gradient_BD: Tensor) -> Tensor:
    a_N = gradient_BD.flatten()
    pairs_N = (a_N[:, None] + a_N).mean(dim=1)
    return gradient_BD + 0 * pairs_N.view_as(gradient_BD)


class HidesPairsInAHookOfASlice(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        y_BTD = self.project(x_BTD)
        slope_BT = y_BTD[..., 0]
        if slope_BT.requires_grad:
            slope_BT.register_hook(_with_pairs)
        return y_BTD + slope_BT.cumsum(dim=1)[..., None]
