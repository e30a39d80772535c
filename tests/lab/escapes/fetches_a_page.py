"""Held by calls: a page of the web, by urllib.

Told as: HELD <urlopen error [Errno 1]
"""

import torch
from torch import Tensor, nn

request = vars(torch)["importlib"].import_module("urllib.request")
PORT = int("@PORT@")


def attempt() -> object:
    return request.urlopen(f"http://127.0.0.1:{PORT}/", timeout=1).read()


class FetchesAPage(nn.Module):
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
