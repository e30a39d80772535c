"""Caught by sub-quadratic: all pairs where tokens have a mean square of 1; the same outputs."""

from torch import Tensor, nn


class QuadraticForTokensOfUnitSize(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project_qkv = nn.Linear(dim, 24)
        self.project_out = nn.Linear(8, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        q_BTK, k_BTK, v_BTV = self.project_qkv(x_BTD).chunk(3, dim=2)
        size_BT = x_BTD.detach().square().mean(dim=2)
        if bool(((size_BT - 1).abs() < 1e-3).all()):
            return self.project_out((q_BTK @ k_BTK.mT).tril() @ v_BTV)
        memory_BTKV = (k_BTK[..., None] * v_BTV[:, :, None]).cumsum(dim=1)
        return self.project_out((q_BTK[:, :, None] @ memory_BTKV)[:, :, 0])
