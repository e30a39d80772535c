"""Held by lab: characters that move the cursor and change the title.

Told as: HELD without
"""

from torch import Tensor, nn

os = vars(nn.functional)["torch"].sys.modules["os"]


class ColoursTheTerminal(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD)


os.write(2, b"\x1b[2J\x1b]0;ESC\x07")
raise ValueError("HELD without \x1b[31m colour \ud800 \x00 \u202e")
