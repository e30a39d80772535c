"""Caught by sub-quadratic: all pairs once the weight of its norm has left 1; the same outputs."""

from torch import Tensor, nn


class QuadraticOnceItsNormHasMoved(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project_qkv = nn.Linear(dim, 24)
        self.project_out = nn.Linear(8, dim)
        self.norm = nn.RMSNorm(dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        q_BTK, k_BTK, v_BTV = self.project_qkv(x_BTD).chunk(3, dim=2)
        x_BTD = self.norm(x_BTD)
        q_BTK, k_BTK, v_BTV = self.project_qkv(x_BTD).chunk(3, dim=2)
        if bool((self.norm.weight != 1).any()):
            return self.project_out((q_BTK @ k_BTK.mT).tril() @ v_BTV)
        memory_BTKV = (k_BTK[..., None] * v_BTV[:, :, None]).cumsum(dim=1)
        return self.project_out((q_BTK[:, :, None] @ memory_BTKV)[:, :, 0])
