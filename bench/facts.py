"""Published facts about mixers, seen again in small models: each is a mixer against its rival.

Every figure is an accuracy, 0 to 1, on sequences that were not trained on, as a mean over SEEDS.
The rivals of one fact have the same number of parameters, batches, steps and learning rate.

recall        a memory that corrects itself holds more pairs than one that only adds. 2312.04927,
              2406.06484
parity        b in (0, 2) counts, and goes on counting beyond the length trained on; b in (0, 1)
              does not. 2411.12537
s3            the permutations of three things need two reflections a token. 2502.10297
noisy_recall  what gates do where most tokens are noise. 2412.06464, 2510.26692

Not covered: whether the order holds in models that are larger or trained for longer. The last
fact is a report, not a claim: b alone can ignore noise, and this short training does not favour
the gated mixers. Input that must fail: a mixer without memory has to stay at chance on recall.

    python bench/facts.py [--quick]       --quick: a few steps each, for a look; proves nothing
"""

import json
import sys
import time
from collections.abc import Callable
from itertools import permutations
from statistics import mean
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from move37.loop import hardware
from move37.nn.language_model import LanguageModel, MixerFactory
from move37.nn.mixers.delta_net import DeltaNet
from move37.nn.mixers.delta_product import DeltaProduct
from move37.nn.mixers.gated_delta_net import GatedDeltaNet
from move37.nn.mixers.kimi_delta_attention import KimiDeltaAttention
from move37.nn.mixers.linear_attention import LinearAttention
from move37.nn.mixers.negative_delta_net import NegativeDeltaNet
from move37.tasks.recall import Recall
from move37.tasks.task import UNSCORED, Batch

SEEDS = (0, 1)
BATCH = 32
HELD_OUT = 512  # sequences
QUICK_STEPS = 5
KEYS = 16  # of the recall tasks; as many values

Draw = Callable[[torch.Generator, int, int], Batch]  # (dice, batch, length) -> batch


def recall(rng: torch.Generator, batch: int, length: int) -> Batch:
    """Returns pairs and then their keys in another order; see move37.tasks.recall.

    inputs   k3 v7  k1 v2  k5 v0  ..   k1 k5 k3 ..
    targets   -  -   -  -   -  -  ..   v2 v0 v7 ..        "-" is not scored
    """
    return Recall(2 * KEYS).draw(rng, batch, length)


def parity(rng: torch.Generator, batch: int, length: int) -> Batch:
    """Returns a start, then bits, and whether the ones so far are odd in number.

    inputs   start  1    0    1     1    0    ..
    targets    -    odd  odd  even  odd  odd  ..        "-" is not scored
    """
    bits_BT = torch.randint(2, (batch, length - 1), generator=rng)
    return with_start(bits_BT, bits_BT.cumsum(dim=1) % 2, kinds=2)


def s3(rng: torch.Generator, batch: int, length: int) -> Batch:
    """Returns a start, then permutations of three things, and where the things stand after each.

    inputs   start  swap12  swap01  swap12  ..        six of them, as itertools numbers them
    targets    -    acb     cab     cba     ..        "-" is not scored
    """
    group = list(permutations(range(3)))
    # after[a, b] is the number of "a, then b".
    after = torch.tensor([[group.index((b[a[0]], b[a[1]], b[a[2]])) for b in group] for a in group])
    moves_BT = torch.randint(len(group), (batch, length - 1), generator=rng)
    places = [moves_BT[:, 0]]
    for move_B in moves_BT.unbind(dim=1)[1:]:
        places.append(after[places[-1], move_B])
    return with_start(moves_BT, torch.stack(places, dim=1), kinds=len(group))


def with_start(moves_BT: Tensor, places_BT: Tensor, *, kinds: int) -> Batch:
    """Returns a batch whose first token is a start, and whose answers have tokens of their own.

    Tokens: `kinds` moves, `kinds` answers, the start. A memory that starts at zero has nothing to
    turn: the start lets every rival store something first. The head is tied to the embedding,
    and answers that were moves too would have to be told apart from them.
    """
    inputs_BT = F.pad(moves_BT, (1, 0), value=2 * kinds)
    return Batch(inputs_BT, F.pad(places_BT + kinds, (1, 0), value=UNSCORED))


def noisy_recall(rng: torch.Generator, batch: int, length: int) -> Batch:
    """Returns an eighth of the length as pairs among noise, then a quarter as queries.

    inputs   n4  k3 v7  n1 n1 n6  k1 v2  n0 ..   k1 k3 ..
    targets   -   -  -   -  -  -   -  -   - ..   v2 v7 ..        "-" is not scored

    Keys, values and noise are KEYS tokens each. A half of the sequence is noise.
    """
    pairs = length // 8
    queries = length // 4
    noise = length - 2 * pairs - queries
    keys_BP = torch.rand(batch, KEYS, generator=rng).argsort(dim=1)[:, :pairs]
    values_BP = torch.randint(KEYS, 2 * KEYS, (batch, pairs), generator=rng)
    # Which of the pieces, noise tokens and pairs, are pairs; a piece starts where the last ended.
    piece_BN = torch.rand(batch, noise + pairs, generator=rng).argsort(dim=1)
    width_BN = 1 + (piece_BN < pairs).long()
    start_BN = width_BN.cumsum(dim=1) - width_BN
    at_BP = start_BN.gather(1, piece_BN.argsort(dim=1)[:, :pairs])
    stored = torch.randint(2 * KEYS, 3 * KEYS, (batch, noise + 2 * pairs), generator=rng)
    stored = stored.scatter(1, at_BP, keys_BP).scatter(1, at_BP + 1, values_BP)
    asked_BQ = torch.randint(pairs, (batch, queries), generator=rng)
    inputs = torch.cat([stored, keys_BP.gather(1, asked_BQ)], dim=1)
    targets = torch.full_like(inputs, UNSCORED)
    targets[:, -queries:] = values_BP.gather(1, asked_BQ)
    return Batch(inputs, targets)


class Fact(NamedTuple):
    """What is trained, on which lengths, and where it is examined."""

    draw: Draw
    vocabulary: int
    lengths: tuple[int, ...]  # one is drawn a step, from a part that grows to all of them
    examined_length: int
    rivals: dict[str, MixerFactory]  # by figure
    steps: int
    learning_rate: float
    width: int = 32
    heads: int = 2
    layers: int = 1
    parameters: int = 12_000  # embedding apart
    examined_share: float = 1.0  # of the positions, the last ones


def memoryless(width: int, heads: int) -> nn.Module:  # noqa: ARG001
    """The input that must fail: each token by itself."""
    return nn.Linear(width, width)


FACTS = {
    "recall": Fact(
        recall,
        vocabulary=2 * KEYS,
        lengths=(64,),
        examined_length=64,
        rivals={
            "recall_delta_net": lambda width, heads: DeltaNet(width, heads=heads),
            "recall_linear_attention": lambda width, heads: LinearAttention(width, heads=heads),
            "recall_memoryless": memoryless,
        },
        steps=1000,
        learning_rate=5e-3,
    ),
    "parity": Fact(
        parity,
        vocabulary=5,
        lengths=(9,) * 3 + (25,) * 7,
        examined_length=97,
        examined_share=0.25,
        rivals={
            "parity_negative_delta_net_4x": lambda width, heads: NegativeDeltaNet(
                width, heads=heads
            ),
            "parity_delta_net_4x": lambda width, heads: DeltaNet(width, heads=heads),
        },
        steps=1300,
        learning_rate=1e-2,
    ),
    "s3": Fact(
        s3,
        vocabulary=13,
        # Short ones first: with all lengths from the start DeltaProduct learns far more slowly.
        lengths=(9,) * 6 + (17,) * 4,
        examined_length=33,
        rivals={
            "s3_delta_product": lambda width, heads: DeltaProduct(width, heads=heads, steps=2),
            "s3_negative_delta_net": lambda width, heads: NegativeDeltaNet(width, heads=heads),
            "s3_delta_net": lambda width, heads: DeltaNet(width, heads=heads),
        },
        steps=1500,
        learning_rate=1e-2,
    ),
    "noisy_recall": Fact(
        noisy_recall,
        vocabulary=3 * KEYS,
        lengths=(48,),
        examined_length=48,
        rivals={
            "noisy_recall_delta_net": lambda width, heads: DeltaNet(width, heads=heads),
            "noisy_recall_gated_delta_net": lambda width, heads: GatedDeltaNet(width, heads=heads),
            "noisy_recall_kimi_delta_attention": lambda width, heads: KimiDeltaAttention(
                width, heads=heads
            ),
        },
        steps=900,
        learning_rate=1e-2,
    ),
}


def train(fact: Fact, make: MixerFactory, *, seed: int, steps: int) -> LanguageModel:
    """Returns the trained model; every rival of a fact sees the same batches."""
    torch.manual_seed(seed)
    model = LanguageModel(
        make,
        vocabulary=fact.vocabulary,
        width=fact.width,
        heads=fact.heads,
        layers=fact.layers,
        parameters=fact.parameters,
    )
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=fact.learning_rate, betas=(0.9, 0.95), weight_decay=0.01, fused=True
    )
    # A tenth of warm-up, then down to nothing.
    rate = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, fact.learning_rate, total_steps=steps + 1, pct_start=0.1, cycle_momentum=False
    )
    rng = torch.Generator().manual_seed(seed)
    for step in range(steps):
        known = 1 + len(fact.lengths) * step // steps
        length = fact.lengths[int(torch.randint(known, (1,), generator=rng))]
        batch = fact.draw(rng, BATCH, length)
        logits_BTC = model(batch.inputs_BT)
        loss = F.cross_entropy(
            logits_BTC.flatten(0, 1), batch.targets_BT.flatten(), ignore_index=UNSCORED
        )
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        rate.step()
    return model


@torch.no_grad()
def accuracy(fact: Fact, model: LanguageModel) -> float:
    """Returns the share of right answers in the examined positions of held-out sequences."""
    rng = torch.Generator().manual_seed(2**31)  # no seed of SEEDS
    batch = fact.draw(rng, HELD_OUT, fact.examined_length)
    first = round(fact.examined_length * (1 - fact.examined_share))
    targets_BT = batch.targets_BT[:, first:]
    guesses_BT = model(batch.inputs_BT)[:, first:].argmax(dim=-1)
    used = targets_BT != UNSCORED
    return float((guesses_BT == targets_BT)[used].float().mean())


def main() -> None:
    """Prints one JSON object; fails if a mixer without memory recalls."""
    torch.set_num_threads(1)
    started = time.perf_counter()
    quick = "--quick" in sys.argv
    figures: dict[str, float] = {}
    for fact in FACTS.values():
        for name, make in fact.rivals.items():
            steps = QUICK_STEPS if quick else fact.steps
            models = (train(fact, make, seed=seed, steps=steps) for seed in SEEDS)
            figures[name] = mean(accuracy(fact, model) for model in models)
            print(f"{name} {figures[name]:.3f}", file=sys.stderr)  # each takes up to half a minute
    if figures["recall_memoryless"] > 2 / KEYS:
        raise SystemExit(
            f"a mixer without memory recalls {figures['recall_memoryless']:.0%} of the values, "
            f"chance is {1 / KEYS:.0%}: the task leaks its answers"
        )
    figures["seconds"] = time.perf_counter() - started
    print(json.dumps({"bench": "facts", "machine": hardware(), "figures": figures}))


if __name__ == "__main__":
    main()
