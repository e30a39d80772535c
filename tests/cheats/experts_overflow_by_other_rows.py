"""Caught by independence: earlier rows fill an expert, and later ones are turned away."""

from torch import Tensor, nn


class ExpertsOverflowByOtherRows(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.score = nn.Linear(dim, 1)

    def forward(self, x_BTD: Tensor) -> Tensor:
        score_BT = self.score(x_BTD)[..., 0]
        wants_BT = score_BT > 0
        queue_BT = wants_BT.flatten().cumsum(dim=0).view_as(wants_BT)
        served_BT = wants_BT & (queue_BT <= 24)
        return self.project(x_BTD) * (1 + served_BT * score_BT.sigmoid())[..., None]
