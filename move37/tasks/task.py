"""What a task is: batches from its own generator, and a score.

Two mixers see the same batches, whatever was built before: a task draws from a generator of its
own, seeded by split and seed alone.

Shape letters: B batch, T time, C vocabulary.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

UNSCORED = -100  # a target that is not scored
HELD_OUT_BATCHES = 4  # of a synthetic task


class Batch(NamedTuple):
    """Inputs (B, T) and targets (B, T), integers; a target may be UNSCORED."""

    inputs_BT: Tensor
    targets_BT: Tensor


class Task(Protocol):
    """One thing a language model can be good at."""

    name: str
    metric: str
    higher_is_better: bool
    vocabulary: int

    def train(self, *, seed: int, batch: int, length: int) -> Iterator[Batch]:
        """Yields training batches for ever; the same for the same seed."""
        ...

    def held_out(self, *, batch: int, length: int) -> list[Batch]:
        """Returns the batches that are scored; the same for every seed and every mixer."""
        ...

    def value(self, loss_nats: float, accuracy: float) -> float:
        """Returns the metric, from the mean loss and the share of right answers."""
        ...


def generator(task: str, split: str, seed: int) -> torch.Generator:
    """Returns the dice of one split of one task."""
    # 7919 and 104729 are primes, so that no (split, seed) pair meets another task's.
    offset = sum(task.encode()) * 104729 + {"train": 0, "held out": 1}[split]
    return torch.Generator().manual_seed(offset + 7919 * (seed + 1))


class Synthetic(ABC):
    """A task whose batches are drawn, and whose metric is the share of right answers."""

    name: str
    metric = "accuracy"
    higher_is_better = True

    def train(self, *, seed: int, batch: int, length: int) -> Iterator[Batch]:
        rng = generator(self.name, "train", seed)
        while True:
            yield self.draw(rng, batch, length)

    def held_out(self, *, batch: int, length: int) -> list[Batch]:
        rng = generator(self.name, "held out", 0)
        return [self.draw(rng, batch, length) for _ in range(HELD_OUT_BATCHES)]

    def value(self, loss_nats: float, accuracy: float) -> float:  # noqa: ARG002
        return accuracy

    @abstractmethod
    def draw(self, rng: torch.Generator, batch: int, length: int) -> Batch:
        """Returns one batch of sequences of this length."""
