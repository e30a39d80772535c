"""Passes: keeps the load of its router in train mode, until auxiliary_loss or a next forward."""

import torch
from torch import Tensor, nn


class BalancesItsRouter(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.score = nn.Linear(dim, heads + 1)
        self.values = nn.Linear(dim, (heads + 1) * dim)
        self._load_N: Tensor | None = None

    def forward(self, x_BTD: Tensor) -> Tensor:
        share_BTN = self.score(x_BTD).softmax(dim=-1)
        self._load_N = share_BTN.mean(dim=(0, 1)) if self.training else None
        v_BTND = self.values(x_BTD).unflatten(-1, (share_BTN.shape[-1], -1))
        h_BTD = (share_BTN[..., None] * v_BTND).sum(dim=2)
        counts_T1 = torch.arange(1, x_BTD.shape[1] + 1).to(h_BTD)[:, None]
        y_BTD: Tensor = h_BTD.cumsum(dim=1) / counts_T1
        return y_BTD.to(v_BTND.dtype)

    def auxiliary_loss(self) -> Tensor:
        """Says how unevenly the tokens went to the experts."""
        if self._load_N is None:
            raise ValueError("expected a forward pass in train mode before")
        return self._load_N.square().sum() * self._load_N.numel()
