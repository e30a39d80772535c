"""How fast the mixers are on one core, forward and backward, with ratios taken side by side.

Rivals: softmax attention (torch's fused kernel), the usual chunked delta rule with forward
substitution row by row in Python, and the reference operators. Input that must fail: a mixer that
is quadratic has to show a token cost that grows with the length.

A figure that does not say `forward` is of forward and backward together. Forward alone is that of
training, which keeps what the backward pass will need.

    python bench/mixers.py [--quick] [--part operators|references|costs|mixers]
"""

import argparse
import ctypes
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from move37.loop import hardware
from move37.nn import ops
from move37.nn.counting import Work
from move37.nn.mixers import MIXERS
from move37.nn.mixers.softmax_attention import SoftmaxAttention
from move37.nn.ops import delta_rule, reference

B, H, K, V = 4, 4, 64, 64
CHUNK = 64  # of the rival
LENGTHS = (128, 1024, 2048, 8192)
# The definitions need 4 to 20 seconds each for 1,024 tokens, and ever more for more tokens.
REFERENCE_LENGTHS = (128, 1024)
WINDOW = 16  # of sliding-window attention, as in its mixer
FILTER = 4  # of the short convolution, as in the mixers
PARTS = ("operators", "references", "costs", "mixers")


class Seconds(NamedTuple):
    """The least times of several passes."""

    forward: float  # as in training
    both: float  # forward and backward


def measured(compute: Callable[[], Tensor], inputs: list[Tensor], repeats: int = 5) -> Seconds:
    """Returns the least time of a forward pass, and of one with its backward pass."""
    forward = both = float("inf")
    for _ in range(repeats):
        for x in inputs:
            x.grad = None
        started = time.perf_counter()
        y = compute()
        forward = min(forward, time.perf_counter() - started)
        y.backward(torch.ones_like(y))
        both = min(both, time.perf_counter() - started)
    return Seconds(forward, both)


def seconds(compute: Callable[[], Tensor], inputs: list[Tensor], repeats: int = 5) -> float:
    """Returns the least time of one forward and backward pass."""
    return measured(compute, inputs, repeats).both


def forward_substitution(q: Tensor, k: Tensor, v: Tensor, beta: Tensor) -> Tensor:
    """The delta rule in chunks, as it is usually written: the triangle inverted row by row.

    Shapes (B, T, H, K or V), beta (B, T, H); T is a multiple of CHUNK.
    """
    q, k, v, b = (
        x.unflatten(1, (-1, CHUNK)).transpose(2, 3) for x in (q, k, v, beta[..., None])
    )  # (B, N, H, C, .)
    T = -(b * (k @ k.transpose(-1, -2))).tril(-1)
    for i in range(1, CHUNK):
        row = T[..., i, :i].clone()
        T = T.clone()
        T[..., i, :i] = row + (row[..., None] * T[..., :i, :i].clone()).sum(dim=-2)
    T = T + torch.eye(CHUNK)
    u, w = T @ (b * v), T @ (b * k)
    read = (q @ k.transpose(-1, -2)).tril()
    S = k.new_zeros(k.shape[0], k.shape[2], k.shape[-1], v.shape[-1])
    outputs = []
    for n in range(k.shape[1]):
        u_n = u[:, n] - w[:, n] @ S
        outputs.append(q[:, n] @ S + read[:, n] @ u_n)
        S = S + k[:, n].transpose(-1, -2) @ u_n
    return torch.stack(outputs, dim=1).transpose(2, 3).flatten(1, 2)


def inputs_of(T: int) -> list[Tensor]:
    """Returns q, k, v, beta and log decay."""
    torch.manual_seed(0)
    q, k = (F.normalize(torch.randn(B, T, H, K), dim=-1) for _ in range(2))
    made = [q, k, torch.randn(B, T, H, V), torch.rand(B, T, H), -torch.rand(B, T, H)]
    return [x.requires_grad_() for x in made]


def sdpa_seconds(T: int, repeats: int) -> float:
    """Returns the time of torch's causal attention."""
    q, k, v = (x.detach().transpose(1, 2).contiguous() for x in inputs_of(T)[:3])
    leaves = [x.requires_grad_() for x in (q, k, v)]
    return seconds(lambda: F.scaled_dot_product_attention(q, k, v, is_causal=True), leaves, repeats)


def operator_figures(lengths: tuple[int, ...]) -> dict[str, float]:
    """Returns the ratios of the delta rule and its rivals."""
    figures = {}
    for T in lengths:
        repeats = 5 if T <= 2048 else 2
        q, k, v, beta, decay = leaves = inputs_of(T)
        sdpa = sdpa_seconds(T, repeats)
        delta = seconds(lambda: delta_rule(q, k, v, beta), leaves, repeats)  # noqa: B023
        gated = seconds(lambda: delta_rule(q, k, v, beta, decay), leaves, repeats)  # noqa: B023
        rival = seconds(
            lambda: forward_substitution(q, k, v, beta),  # noqa: B023
            leaves,
            2 if T <= 2048 else 1,
        )
        figures[f"delta_net_over_sdpa_{T}"] = delta / sdpa
        figures[f"gated_delta_net_over_sdpa_{T}"] = gated / sdpa
        figures[f"forward_substitution_over_delta_net_{T}"] = rival / delta
        assert_same(forward_substitution, delta_rule, [q, k, v, beta])
    return figures


class Twins(NamedTuple):
    """An operator, its definition, and what both are given."""

    fast: Callable[..., Tensor]
    slow: Callable[..., Tensor]
    inputs: list[Tensor]


def twins_of(T: int) -> dict[str, Twins]:
    """Returns every operator that has a definition, each with every kind of decay it takes."""
    q, k, v, beta, decay = inputs_of(T)
    made = (-torch.rand(B, T, H, K), -torch.rand(B, T, H), -k.detach(), k.detach() / 2)
    channel_decay, momentum, erase, write = (x.requires_grad_() for x in made)
    bias = torch.randn(H, WINDOW).requires_grad_()
    x = torch.randn(B, T, H * K).requires_grad_()
    weight = torch.randn(H * K, FILTER).requires_grad_()
    given = {
        "linear_attention": [q, k, v],
        "gated_linear_attention": [q, k, v, decay],
        "channel_gated_linear_attention": [q, k, v, channel_decay],
        "delta_rule": [q, k, v, beta],
        "gated_delta_rule": [q, k, v, beta, decay],
        "channel_gated_delta_rule": [q, k, v, beta, channel_decay],
        "generalized_delta_rule": [q, k, v, erase, write, channel_decay],
        "momentum_delta_rule": [q, k, v, beta, momentum, decay],
        "softmax_attention": [q, k, v],
        "sliding_window_attention": [q, k, v, bias],
        "short_convolution": [x, weight],
    }
    twins = {}
    for name, inputs in given.items():
        operator = name.removeprefix("channel_").removeprefix("gated_")
        twins[name] = Twins(getattr(ops, operator), getattr(reference, operator), inputs)
    return twins


def assert_same(
    fast: Callable[..., Tensor], slow: Callable[..., Tensor], inputs: list[Tensor]
) -> None:
    """Raises AssertionError unless what is compared in time gives the same values."""
    with torch.no_grad():
        torch.testing.assert_close(fast(*inputs), slow(*inputs), atol=1e-4, rtol=1e-3)


def reference_figures(lengths: tuple[int, ...]) -> dict[str, float]:
    """Returns how many times as long as each operator its definition takes."""
    figures = {}
    for T in lengths:
        for name, (fast, slow, inputs) in twins_of(T).items():
            assert_same(fast, slow, inputs)
            took = seconds(lambda: fast(*inputs), inputs)  # noqa: B023
            rival = seconds(lambda: slow(*inputs), inputs, 1)  # noqa: B023
            figures[f"reference_over_{name}_{T}"] = rival / took
    return figures


def cost_figures() -> dict[str, float]:
    """Returns how much more a token costs the delta rule at 8192 tokens than at 1024."""
    figures = {}
    for name, decays in (("delta_rule", False), ("gated_delta_rule", True)):
        cost: dict[int, float] = {}
        for T in (1024, 8192) * 2:
            q, k, v, beta, decay = leaves = inputs_of(T)
            took = seconds(
                lambda: delta_rule(q, k, v, beta, decay if decays else None),  # noqa: B023
                leaves,
                3,
            )
            cost[T] = min(cost.get(T, took), took / T)
        figures[f"{name}_token_cost_8k_over_1k"] = cost[8192] / cost[1024]
    return figures


def peak_bytes(mixer: nn.Module, x: Tensor) -> int:
    """Returns how far one forward and backward pass raises the memory of the process.

    By the system's own high-water mark, in a forked child, where what earlier passes have left
    is given back first.
    """
    receiver, sender = os.pipe()
    child = os.fork()
    if not child:
        mixer(x[:, :16]).sum().backward()  # brings in the pages of the code itself
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")  # resets the mark
        before = _status("VmHWM")
        mixer(x).sum().backward()
        os.write(sender, str(_status("VmHWM") - before).encode())
        os._exit(0)
    os.close(sender)
    with os.fdopen(receiver) as reader:
        said = reader.read()
    os.waitpid(child, 0)
    return int(said)


def _status(field: str) -> int:
    """Returns a field of the process's memory in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(field)).split()[1])


def word(mixer: type[nn.Module]) -> str:
    """Returns the name of the mixer's file: gated_delta_net."""
    return mixer.__module__.rpartition(".")[2]


def mixer_figures(lengths: tuple[int, ...]) -> dict[str, float]:
    """Returns each mixer's speed, memory, and growth of cost per token, 256 wide with four heads.

    Its time is also given relative to softmax attention's, which is measured beside it.
    """
    figures: dict[str, float] = {}
    torch.manual_seed(0)
    attention = SoftmaxAttention(H * K, heads=H)
    for kind in MIXERS:
        build: Any = kind
        mixer: nn.Module = build(H * K, heads=H)
        name = word(kind)
        cost, flops = {}, {}
        for T in lengths:
            x = torch.randn(1, T, H * K, requires_grad=True)
            forward, took = measured(lambda: mixer(x), [x, *mixer.parameters()], 3)  # noqa: B023
            rival = seconds(lambda: attention(x), [x, *attention.parameters()], 2)  # noqa: B023
            cost[T] = took / T
            figures[f"{name}_forward_tokens_per_second_{T}"] = T / forward
            figures[f"{name}_tokens_per_second_{T}"] = T / took
            figures[f"{name}_over_softmax_attention_{T}"] = took / rival
            figures[f"{name}_peak_mb_{T}"] = peak_bytes(mixer, x) / 1e6
            with torch.no_grad(), Work() as work:
                mixer(x)
            flops[T] = work.total / T
        if 8192 in cost:
            figures[f"{name}_token_cost_8k_over_1k"] = cost[8192] / cost[1024]
            figures[f"{name}_flops_per_token_8k_over_1k"] = flops[8192] / flops[1024]
    return figures


def main() -> None:
    """Prints one JSON object; fails if attention does not show that it is quadratic."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short sequences only, for a look")
    parser.add_argument("--part", choices=PARTS, help="one part of the figures only")
    given = parser.parse_args()
    torch.set_num_threads(1)
    figures: dict[str, float] = {}
    for part in [given.part] if given.part else PARTS:
        if part == "operators":
            figures |= operator_figures(LENGTHS[:3] if given.quick else LENGTHS)
        elif part == "references":
            figures |= reference_figures(
                REFERENCE_LENGTHS[:1] if given.quick else REFERENCE_LENGTHS
            )
        elif part == "costs":
            figures |= {} if given.quick else cost_figures()
        else:
            figures |= mixer_figures((128, 512) if given.quick else LENGTHS)
    if figures.get("softmax_attention_token_cost_8k_over_1k", 9) < 1.5:
        raise SystemExit("softmax attention looks linear: the measurement is at fault")
    print(json.dumps({"bench": "mixers", "machine": hardware(), "figures": figures}))


if __name__ == "__main__":
    main()
