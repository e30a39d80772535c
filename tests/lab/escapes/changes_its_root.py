"""Held by calls: another root folder."""

from torch import Tensor, nn

os = vars(nn.functional)["torch"].sys.modules["os"]


def attempt() -> object:
    os.chroot(".")
    return "changed"


class ChangesItsRoot(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD)


try:
    told = attempt()
except OSError as error:
    raise RuntimeError(f"HELD {error}") from None
raise RuntimeError(f"ESCAPED {told}")
