"""Caught by decoding at the full level: in bfloat16 its sums lose each new token after a while."""

import torch
from torch import Tensor, nn


class DecodesInThePrecisionOfItsWeights(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, 2 * dim)

    def _parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        score, value = self.project(x.tanh()).chunk(2, dim=-1)
        return 0.5 + score.sigmoid(), value

    def forward(self, x_BTD: Tensor) -> Tensor:
        score_BTD, value_BTD = self._parts(x_BTD)
        wide = torch.promote_types(x_BTD.dtype, torch.float32)
        total_BTD = (score_BTD * value_BTD).to(wide).cumsum(dim=1)
        return (total_BTD / score_BTD.to(wide).cumsum(dim=1)).to(x_BTD.dtype)

    def initial_state(self, batch: int) -> Tensor:
        return self.project.weight.new_zeros(batch, 2, self.project.in_features)

    def step(self, x_BD: Tensor, state_B2D: Tensor) -> tuple[Tensor, Tensor]:
        score_BD, value_BD = self._parts(x_BD)
        state_B2D = state_B2D + torch.stack([score_BD * value_BD, score_BD], dim=1)
        return state_B2D[:, 0] / state_B2D[:, 1], state_B2D
