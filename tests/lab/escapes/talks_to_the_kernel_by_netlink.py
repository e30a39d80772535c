"""Held by calls: a netlink socket, by which the network is configured."""

from torch import Tensor, nn

socket = vars(nn.functional)["torch"].sys.modules["socket"]


def attempt() -> object:
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)


class TalksToTheKernelByNetlink(nn.Module):
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
