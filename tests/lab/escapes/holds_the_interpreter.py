"""Held by warden: one call that holds the interpreter for hours.

Told as: time limit
"""

from torch import Tensor, nn

re = vars(nn.functional)["torch"].sys.modules["re"]


class HoldsTheInterpreter(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD)


re.match(r"(a+)+$", "a" * 60 + "b")
