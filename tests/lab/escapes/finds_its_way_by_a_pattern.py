"""Held by calls: a process of its own, reached by a pattern where an attribute would be refused."""

from torch import Tensor, nn


def attempt() -> object:
    for kind in vars(type)["__subclasses__"](object):
        match vars(kind).get("__init__"):
            case object(__globals__={"sys": sys}):
                return sys.modules["os"].fork()
    return None


class FindsItsWayByAPattern(nn.Module):
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
