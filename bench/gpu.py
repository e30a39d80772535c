"""How fast the mixers are on a GPU, forward and backward, with ratios taken side by side.

Rivals: torch's fused attention, and move37's own chunked operators, which any card runs; with
flash-linear-attention installed, its kernels. Inputs that must fail: attention has to show
a token cost that grows with the length, and operators with the wrong strengths of writing have to
show an error.

    python bench/gpu.py [--quick] [--workers 8] [--configurations 3]

The kernels are tuned when they first run, each over dozens of configurations that have to be
compiled: many minutes for one process. Workers compile ahead; with fewer configurations the tuning
is coarse, and the figures say so.
"""

import argparse
import importlib
import importlib.util
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from move37.loop import hardware
from move37.nn import ops
from move37.nn.mixers import MIXERS
from move37.nn.mixers.softmax_attention import SoftmaxAttention
from move37.nn.ops import kernels, reference

TOKENS = 32768  # of a batch, whatever the length
HEADS, WIDTH = 16, 1024
LENGTHS = (1024, 2048, 8192)
REPEATS = 7
# What bfloat16 leaves of products, summed over a chunk and carried on; relative to the largest.
NEAR = 0.03


def milliseconds(compute: Callable[[], Tensor], inputs: list[Tensor], repeats: int) -> float:
    """Returns the median time of one forward and backward pass, by the card's own clock."""
    slope = torch.randn_like(compute())
    took = []
    for turn in range(repeats + 2):
        for x in inputs:
            x.grad = None
        started, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        started.record()
        compute().backward(slope)
        ended.record()
        torch.cuda.synchronize()
        if turn >= 2:  # the first turns compile and choose kernels
            took.append(started.elapsed_time(ended))
    return float(statistics.median(took))


@contextmanager
def without_kernels() -> Iterator[None]:
    """As if flash-linear-attention were missing."""
    with mock.patch.object(kernels, "usable", return_value=False):
        yield


def say(what: str) -> None:
    print(f"{time.perf_counter():7.0f} s  {what}", file=sys.stderr, flush=True)


# ---------------------------------------------------------------- compiling ahead


def compile_ahead(workers: int, configurations: int) -> None:
    """Compiles what the kernels are tuned over; the tuning is left to this process, undisturbed."""
    os.environ["FLA_CACHE_RESULTS"] = "0"
    names = [*RULES, *(kind.__name__ for kind in MIXERS)]
    setup = (get_context("spawn"), coarse, (configurations,))
    with ProcessPoolExecutor(workers, *setup) as pool:
        for name in pool.map(_compile, names):
            say(f"compiled {name}")
    del os.environ["FLA_CACHE_RESULTS"]


def coarse(configurations: int) -> None:
    """Tunes each kernel of this process over so many configurations only, if not 0."""
    if not configurations or importlib.util.find_spec("triton") is None:
        return
    autotuner: Any = importlib.import_module("triton.runtime.autotuner").Autotuner
    build = autotuner.__init__

    def built(self: Any, fn: Any, names: Any, configs: list[Any], *more: Any, **named: Any) -> None:
        few = configs[:: -(-len(configs) // configurations)] if configs else configs
        build(self, fn, names, few, *more, **named)

    autotuner.__init__ = built


def _compile(name: str) -> str:
    if name in RULES:
        given = inputs_of(LENGTHS[0], RULES[name])
        ops.delta_rule(**given).sum().backward()
    else:
        mixer, x = mixer_of(next(kind for kind in MIXERS if kind.__name__ == name), LENGTHS[0])
        mixer(x).sum().backward()
    return name


# ---------------------------------------------------------------- operators


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def inputs_of(T: int, decays: str) -> dict[str, Tensor]:
    """Returns q, k, v, beta and, unless decays is "none", log decays of a batch of TOKENS."""
    torch.manual_seed(0)
    B, H, K = TOKENS // T, HEADS, WIDTH // HEADS
    shape = (B, T, H, K)
    made = {
        "q_BTHK": F.normalize(torch.randn(shape, device="cuda"), dim=-1),
        "k_BTHK": F.normalize(torch.randn(shape, device="cuda"), dim=-1),
        "v_BTHV": torch.randn(shape, device="cuda"),
        "beta_BTH": torch.rand(shape[:3], device="cuda"),
    }
    if decays != "none":
        made["log_decay"] = -torch.rand(shape[: 4 if decays == "channel" else 3], device="cuda")
    return {name: x.bfloat16().requires_grad_() for name, x in made.items()}


RULES = {"delta_rule": "none", "gated_delta_rule": "scalar", "kimi_delta_rule": "channel"}


def operator_figures(lengths: tuple[int, ...], repeats: int) -> dict[str, float]:
    """Returns the time of each delta rule relative to attention, and the rivals' relative to it."""
    figures = {}
    for T in lengths:
        say(f"operators at {T}")
        q, k, v = (x.detach().transpose(1, 2) for x in list(inputs_of(T, "none").values())[:3])
        leaves = [x.contiguous().requires_grad_() for x in (q, k, v)]
        sdpa = milliseconds(partial(attend, *leaves), leaves, repeats)
        figures[f"sdpa_ms_{T}"] = sdpa
        for name, decays in RULES.items():
            given = inputs_of(T, decays)
            leaves = list(given.values())
            fast = milliseconds(partial(ops.delta_rule, **given), leaves, repeats)
            figures[f"{name}_ms_{T}"] = fast
            figures[f"{name}_over_sdpa_{T}"] = fast / sdpa
            with without_kernels():
                own = milliseconds(partial(ops.delta_rule, **given), leaves, repeats)
            figures[f"chunked_over_{name}_{T}"] = own / fast
    return figures


def error_figures() -> dict[str, float]:
    """Returns how far each delta rule is from its definition, and the same with wrong strengths."""
    figures = {}
    for name, decays in RULES.items():
        given = {key: x.detach()[:1] for key, x in inputs_of(1024, decays).items()}
        exact = reference.delta_rule(**{key: x.double() for key, x in given.items()})
        wrong = given | {"beta_BTH": given["beta_BTH"].flip(1)}
        fast, bad = (ops.delta_rule(**x) for x in (given, wrong))
        with without_kernels():
            own = ops.delta_rule(**given)
        for word, said in (("", fast), ("_chunked", own), ("_of_wrong_input", bad)):
            apart = (said.double() - exact).abs().max() / exact.abs().max()
            figures[f"{name}{word}_error"] = float(apart)
    return figures


# ---------------------------------------------------------------- mixers


def mixer_of(kind: Any, T: int) -> tuple[nn.Module, Tensor]:
    """Returns a mixer, and an input (B, T, D) of TOKENS."""
    torch.manual_seed(0)
    mixer: nn.Module = kind(WIDTH, heads=HEADS).to("cuda", torch.bfloat16)
    x_BTD = torch.randn(TOKENS // T, T, WIDTH, device="cuda", dtype=torch.bfloat16)
    return mixer, x_BTD.requires_grad_()


def mixer_figures(lengths: tuple[int, ...], repeats: int) -> dict[str, float]:
    """Returns each mixer's speed and memory in bfloat16, 1024 wide with 16 heads.

    Its time is also given relative to softmax attention's, measured beside it. One that needs more
    memory than the card has gets `NAME_out_of_memory_T`.
    """
    figures: dict[str, float] = {}
    for kind in MIXERS:
        name = kind.__module__.rpartition(".")[2]
        cost: dict[int, float] = {}
        for T in lengths:
            say(f"{name} at {T}")
            (mixer, x), (attention, _) = mixer_of(kind, T), mixer_of(SoftmaxAttention, T)
            torch.cuda.reset_peak_memory_stats()
            held = torch.cuda.memory_allocated()
            try:
                took = milliseconds(partial(mixer, x), [x, *mixer.parameters()], repeats)
            except torch.OutOfMemoryError:
                figures[f"{name}_out_of_memory_{T}"] = 1
                torch.cuda.empty_cache()
                continue
            figures[f"{name}_peak_mb_{T}"] = (torch.cuda.max_memory_allocated() - held) / 1e6
            rival = milliseconds(partial(attention, x), [x, *attention.parameters()], repeats)
            cost[T] = took
            figures[f"{name}_tokens_per_second_{T}"] = 1000 * TOKENS / took
            figures[f"{name}_over_softmax_attention_{T}"] = took / rival
            say(f"{took:.2f} ms, softmax attention {rival:.2f} ms")
        if lengths[0] in cost and lengths[-1] in cost:
            growth = cost[lengths[-1]] / cost[lengths[0]]
            figures[f"{name}_token_cost_{lengths[-1]}_over_{lengths[0]}"] = growth
    return figures


def main() -> None:
    """Prints one JSON object; says so where there is no GPU; fails if a control does not fail."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer lengths, for a look")
    parser.add_argument("--workers", type=int, default=1, help="that compile kernels ahead")
    parser.add_argument("--configurations", type=int, default=0, help="of a kernel, 0: all")
    words = parser.parse_args()
    if not torch.cuda.is_available():
        print(json.dumps({"bench": "gpu", "machine": hardware(), "figures": {}, "told": "no GPU"}))
        return
    lengths, repeats = ((1024, 8192), 3) if words.quick else (LENGTHS, REPEATS)
    coarse(words.configurations)
    if words.workers > 1:
        compile_ahead(words.workers, words.configurations)
    errors = error_figures()
    say(json.dumps(errors))
    figures = errors | operator_figures(lengths, repeats) | mixer_figures(lengths, repeats)
    for name in RULES:
        if not errors[f"{name}_error"] <= NEAR:
            raise SystemExit(f"{name} is off by {errors[f'{name}_error']:.3f}")
        if errors[f"{name}_of_wrong_input_error"] <= NEAR:
            raise SystemExit(f"{name} with wrong input looks right: the measurement is at fault")
    # The same tokens in longer sequences: as many for whatever is linear.
    growth = figures[f"sdpa_ms_{lengths[-1]}"] / figures[f"sdpa_ms_{lengths[0]}"]
    if growth < 1.5:
        raise SystemExit(f"attention looks linear ({growth:.2f}): the measurement is at fault")
    fla = "fla's kernels" if kernels._fla() is not None else "no fla"
    tuned = words.configurations or "all"
    told = f"{fla}, tuned over {tuned} configurations each"
    machine = hardware("cuda")
    print(json.dumps({"bench": "gpu", "machine": machine, "told": told, "figures": figures}))


if __name__ == "__main__":
    main()
