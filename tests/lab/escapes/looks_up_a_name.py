"""Held by files: the address of a name, by the files of the system or by a server.

Told as: HELD [Errno -
"""

from torch import Tensor, nn

socket = vars(nn.functional)["torch"].sys.modules["socket"]


def attempt() -> object:
    return socket.getaddrinfo("localhost", 80)


class LooksUpAName(nn.Module):
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
