"""Held by files: a file by a descriptor that holds its path only."""

from torch import Tensor, nn

os = vars(nn.functional)["torch"].sys.modules["os"]


def attempt() -> object:
    held = os.open("@SECRET@", os.O_PATH)
    return os.read(os.open(f"/proc/self/fd/{held}", os.O_RDONLY), 100)


class ReadsThroughAPathThatIsHeld(nn.Module):
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
