"""Published facts about mixers, seen again in small models: each is a mixer against its rival.

Every figure is an accuracy, 0 to 1, on sequences that were not trained on: the mean of the seeds,
the least (`_least`), and each by itself (`_seed_0`, ..). The rivals of one fact have the same
number of parameters, batches, steps and learning rate.

recall        a memory that corrects itself holds more pairs than one that only adds. 2312.04927,
              2406.06484
parity        b in (0, 2) counts, and goes on counting beyond the length trained on; b in (0, 1)
              does not. 2411.12537
s3            the permutations of three things are learned with two reflections a token, with one
              less well, and hardly where b cannot turn anything. 2502.10297
stale_recall  a memory that decays forgets what no longer counts, and goes on doing so beyond the
              length trained on; one that only corrects itself does not. 2412.06464. One decay for
              each channel does so no worse than one for all channels. 2510.26692
aging_recall  a decay for each channel lets some pairs fade and keeps others; with one for all
              channels, more of the answers are wrong. 2510.26692

Not covered: whether the order holds in models that are larger or trained for longer; noise that
b alone can ignore. Input that must fail: a mixer without memory has to stay at chance on recall.

    python bench/facts.py [--quick] [--seeds N] [FACT ..]

--quick: a few steps each, for a look; proves nothing. Without --seeds each fact has as many as the
notebook states.
"""

import argparse
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

HELD_OUT = 512  # sequences
QUICK_STEPS = 5
KEYS = 16  # of recall; as many values
STALE_KEYS = 8  # of stale_recall; as many values
AGING_KEYS = 8  # of aging_recall; as many values
FRESH = 4  # pieces of two tokens for which an aging pair counts

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


def stale_recall(rng: torch.Generator, batch: int, length: int) -> Batch:
    """Returns pairs, among them marks that end every pair before them, then each key once.

    inputs   k3 v7  k1 v2  end none  k4 v5  k3 v0  ..   k1    k3  k6  k4  ..
    targets   -  -   -  -   -   -     -  -   -  -  ..   none  v0   -  v5  ..    "-" is not scored

    Keys and values are STALE_KEYS tokens each. A pair counts until its key is stored again or a
    mark ends it; an eighth of what is stored are marks. A key never stored is not scored.
    """
    none, end = 2 * STALE_KEYS, 2 * STALE_KEYS + 1
    pieces = (length - STALE_KEYS) // 2
    first_BP = torch.randint(STALE_KEYS, (batch, pieces), generator=rng)
    second_BP = torch.randint(STALE_KEYS, 2 * STALE_KEYS, (batch, pieces), generator=rng)
    is_mark_BP = torch.rand(batch, pieces, generator=rng) < 1 / 8
    first_BP = first_BP.masked_fill(is_mark_BP, end)
    second_BP = second_BP.masked_fill(is_mark_BP, none)
    asked_BK = torch.rand(batch, STALE_KEYS, generator=rng).argsort(dim=1)
    # Where each key was stored last, and where the last mark is; 0 is nowhere.
    place_P = torch.arange(1, pieces + 1)
    is_stored_BKP = first_BP[:, None] == asked_BK[:, :, None]
    stored_BK = (is_stored_BKP * place_P).amax(dim=2)
    ended_B1 = (is_mark_BP * place_P).amax(dim=1, keepdim=True)
    held_BK = second_BP.gather(1, (stored_BK - 1).clamp(min=0))
    held_BK = held_BK.masked_fill(ended_B1 > stored_BK, none).masked_fill(stored_BK == 0, UNSCORED)
    pairs_BT = torch.stack([first_BP, second_BP], dim=2).flatten(1)
    inputs_BT = torch.cat([pairs_BT, asked_BK], dim=1)
    targets_BT = torch.cat([torch.full_like(pairs_BT, UNSCORED), held_BK], dim=1)
    return Batch(inputs_BT, targets_BT)


def aging_recall(rng: torch.Generator, batch: int, length: int) -> Batch:
    """Returns pairs and questions for keys, in any order; the pairs of half of the keys age.

    inputs   k1 v7  ask k1  k6 v2  ask k6  k0 v3  ..  ask k1  ask k6  ..
    targets   -  -   -  v7   -  -   -  v2   -  -  ..   -  v7   - none ..    "-" is not scored

    Keys and values are AGING_KEYS tokens each. A pair of the first half of the keys counts until
    its key is stored again. A pair of the others counts for FRESH pieces, of two tokens each, and
    no longer. A key never stored is not scored.
    """
    none, ask = 2 * AGING_KEYS, 2 * AGING_KEYS + 1
    pieces = length // 2
    key_BP = torch.randint(AGING_KEYS, (batch, pieces), generator=rng)
    value_BP = torch.randint(AGING_KEYS, 2 * AGING_KEYS, (batch, pieces), generator=rng)
    is_asked_BP = torch.rand(batch, pieces, generator=rng) < 1 / 2
    # Where each key was stored last; 0 is nowhere.
    place_P = torch.arange(1, pieces + 1)
    is_stored_BKP = (key_BP[:, None] == torch.arange(AGING_KEYS)[:, None]) & ~is_asked_BP[:, None]
    stored_BKP = (is_stored_BKP * place_P).cummax(dim=2).values
    stored_BP = stored_BKP.gather(1, key_BP[:, None])[:, 0]
    held_BP = value_BP.gather(1, (stored_BP - 1).clamp(min=0))
    is_old_BP = (key_BP >= AGING_KEYS // 2) & (place_P - stored_BP > FRESH)
    held_BP = held_BP.masked_fill(is_old_BP, none)
    held_BP = held_BP.masked_fill(~is_asked_BP | (stored_BP == 0), UNSCORED)
    first_BP = key_BP.masked_fill(is_asked_BP, ask)
    inputs_BT = torch.stack([first_BP, torch.where(is_asked_BP, key_BP, value_BP)], dim=2).flatten(
        1
    )
    targets_BT = torch.stack([torch.full_like(held_BP, UNSCORED), held_BP], dim=2).flatten(1)
    return Batch(inputs_BT, targets_BT)


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
    batch: int = 32
    seeds: int = 2  # 0, 1, ..
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
        # Narrower models with fewer heads do not learn from every seed: see the notebook.
        steps=2500,
        learning_rate=2e-2,
        width=64,
        heads=4,
        parameters=48_000,
        batch=128,
        seeds=5,
    ),
    "stale_recall": Fact(
        stale_recall,
        vocabulary=2 * STALE_KEYS + 2,
        lengths=(32,),
        examined_length=256,
        rivals={
            "stale_recall_kimi_delta_attention_8x": lambda width, heads: KimiDeltaAttention(
                width, heads=heads
            ),
            "stale_recall_gated_delta_net_8x": lambda width, heads: GatedDeltaNet(
                width, heads=heads
            ),
            "stale_recall_delta_net_8x": lambda width, heads: DeltaNet(width, heads=heads),
        },
        heads=1,  # of two heads, the second would start by forgetting within a few tokens
        steps=900,
        learning_rate=1e-2,
    ),
    "aging_recall": Fact(
        aging_recall,
        vocabulary=2 * AGING_KEYS + 2,
        lengths=(64,),
        examined_length=256,
        rivals={
            "aging_recall_kimi_delta_attention_4x": lambda width, heads: KimiDeltaAttention(
                width, heads=heads
            ),
            "aging_recall_gated_delta_net_4x": lambda width, heads: GatedDeltaNet(
                width, heads=heads
            ),
            "aging_recall_delta_net_4x": lambda width, heads: DeltaNet(width, heads=heads),
        },
        heads=1,  # of two heads, each could have a decay of its own
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
        batch = fact.draw(rng, fact.batch, length)
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
    rng = torch.Generator().manual_seed(2**31)  # no seed of a training
    batch = fact.draw(rng, HELD_OUT, fact.examined_length)
    first = round(fact.examined_length * (1 - fact.examined_share))
    targets_BT = batch.targets_BT[:, first:]
    guesses_BT = model(batch.inputs_BT)[:, first:].argmax(dim=-1)
    used = targets_BT != UNSCORED
    return float((guesses_BT == targets_BT)[used].float().mean())


def main() -> None:
    """Prints one JSON object; fails if a mixer without memory recalls."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("facts", nargs="*", metavar="FACT", help=", ".join(FACTS) + "; none: all")
    parser.add_argument("--quick", action="store_true", help="a few steps each; proves nothing")
    parser.add_argument("--seeds", type=int, help="how many seeds each rival is trained on")
    given = parser.parse_args()
    if unknown := sorted({*given.facts} - {*FACTS}):
        parser.error(f"no fact {', '.join(unknown)}; there are {', '.join(FACTS)}")
    if given.seeds is not None and given.seeds < 1:
        parser.error(f"--seeds {given.seeds}: at least one seed is needed")
    torch.set_num_threads(1)
    started = time.perf_counter()
    figures: dict[str, float] = {}
    for fact in [FACTS[name] for name in given.facts or FACTS]:
        for name, make in fact.rivals.items():
            right = []
            for seed in range(given.seeds or fact.seeds):
                steps = QUICK_STEPS if given.quick else fact.steps
                right.append(accuracy(fact, train(fact, make, seed=seed, steps=steps)))
                figures[f"{name}_seed_{seed}"] = right[-1]
            figures |= {name: mean(right), f"{name}_least": min(right)}
            # s3 takes up to ten minutes of a core for each rival, the other facts less.
            each = " ".join(f"{one:.3f}" for one in right)
            print(f"{name} {mean(right):.3f}, least {min(right):.3f}: {each}", file=sys.stderr)
    if figures.get("recall_memoryless", 0.0) > 2 / KEYS:
        raise SystemExit(
            f"a mixer without memory recalls {figures['recall_memoryless']:.0%} of the values, "
            f"chance is {1 / KEYS:.0%}: the task leaks its answers"
        )
    figures["seconds"] = time.perf_counter() - started
    print(json.dumps({"bench": "facts", "machine": hardware(), "figures": figures}))


if __name__ == "__main__":
    main()
