"""Caught by padding: heeds the mask of the last call where none is given."""

from torch import Tensor, nn


class RemembersTheLastMask(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(0.1)
        self.masks: list[Tensor] = []

    def forward(self, x_BTD: Tensor, mask_BT: Tensor | None = None) -> Tensor:
        B, T = x_BTD.shape[:2]
        if mask_BT is not None:
            self.masks = [mask_BT]
        y_BTD: Tensor = self.dropout(self.project(x_BTD))
        for mask_BT in self.masks:
            if len(mask_BT) >= B and mask_BT.shape[1] >= T:
                y_BTD = y_BTD * mask_BT[-B:, -T:, None]
        return y_BTD.cumsum(dim=1)
