"""Answers as models write them, odd and malformed; see test_answers.py for what is to come of each.

A good answer is written once, and each odd one is made from it by what is odd about it.
"""

PROGRAM = '''\
"""Keeps a mean."""

import torch
from torch import Tensor, nn


class RunningMean(nn.Module):
    """o_t is the mean of v_1 to v_t."""

    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        v_BTD = self.project(x_BTD)
        if v_BTD.shape[1] < 2:
            return v_BTD
        count_T = torch.arange(1, v_BTD.shape[1] + 1, device=x_BTD.device)
        return v_BTD.cumsum(1) / count_T[:, None]
'''

HEAD = "Name: RunningMean\nMotivation: A mean forgets nothing.\n\n"
GOOD = f"{HEAD}```python\n{PROGRAM}```\n"


def fenced(program: str, info: str = "python") -> str:
    return f"{HEAD}```{info}\n{program}```\n"


def each_line(program: str, prefix: str) -> str:
    return "".join(f"{prefix}{line}".rstrip() + "\n" for line in program.splitlines())
