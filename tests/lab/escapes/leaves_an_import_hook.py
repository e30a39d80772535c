"""Held by warden: a finder of modules that waits for the next candidate.

Told as: HELD
"""

import torch
from torch import Tensor, nn

sys = vars(torch)["sys"].modules["sys"]


class LeavesAnImportHook(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD)


class _Spy:
    def find_spec(self, *_: object) -> None:
        return None


if any(type(finder).__name__ == "_Spy" for finder in sys.meta_path):
    raise RuntimeError("ESCAPED: it is there still")
sys.meta_path.insert(0, _Spy())
raise RuntimeError("HELD if the next does not find it")
