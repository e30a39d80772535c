"""Multi-query associative recall: is the value found again for each key?

Arora et al. arXiv:2312.04927 (Zoology).
"""

import torch

from move37.tasks.task import UNSCORED, Batch, Synthetic


class Recall(Synthetic):
    """Key-value pairs, then every key again in another order: the value is to be recalled.

    inputs   k3 v7  k1 v2  k5 v0  ..   k1 k5 k3 ..
    targets   -  -   -  -   -  -  ..   v2 v0 v7 ..        "-" is not scored

    The first half of the sequence are pairs, the rest queries: each pair is asked for in turn.
    Keys are the first half of the vocabulary, values the second; a key stands once among the
    pairs.
    """

    name = "recall"

    def __init__(self, vocabulary: int = 16) -> None:
        self.vocabulary = vocabulary

    def draw(self, rng: torch.Generator, batch: int, length: int) -> Batch:
        half, pairs = self.vocabulary // 2, length // 4
        if pairs > half:
            raise ValueError(f"{pairs} pairs need {pairs} keys, the vocabulary has {half}")

        def shuffled(count: int) -> torch.Tensor:
            """(batch, pairs) distinct numbers below count, in random order."""
            return torch.rand(batch, count, generator=rng).argsort(dim=1)[:, :pairs]

        keys_BP = shuffled(half)
        values_BP = torch.randint(half, self.vocabulary, (batch, pairs), generator=rng)
        queries = length - 2 * pairs
        order_BQ = torch.cat([shuffled(pairs) for _ in range(-(-queries // pairs))], 1)[:, :queries]
        stored_BT = torch.stack([keys_BP, values_BP], dim=2).flatten(1)
        inputs = torch.cat([stored_BT, keys_BP.gather(1, order_BQ)], dim=1)
        targets = torch.full_like(inputs, UNSCORED)
        targets[:, 2 * pairs :] = values_BP.gather(1, order_BQ)
        return Batch(inputs, targets)
