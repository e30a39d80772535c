"""How far does decoding in bfloat16 drift from what the mixer computes all at once?

For every mixer of the library: weights and inputs that bfloat16 holds exactly, 4,096 tokens, batch
1, width 64, 4 heads. The reference is the recurrence token by token in float64. An error is the
root mean square of the difference from it over the last 256 tokens, relative to the reference
there. The headline is the error of `step` over that of `forward`, both in bfloat16, for the worst
mixer (at most 3).

Rival: the same steps with a state that is rounded to bfloat16 after every token, as a state in the
type of the weights is. Input that must fail: LinearAttention decoded by the rival, whose sums lose
each new token after some hundreds.

    python bench/decoding.py [--tokens 4096]
"""

import argparse
import json
import sys
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from move37.loop import hardware
from move37.nn.mixers import MIXERS

WIDTH, HEADS, LAST = 64, 4, 256


class Errors(NamedTuple):
    """Errors in bfloat16 relative to the float64 recurrence, of three ways to compute the same."""

    forward: float
    step: float
    rival: float


def errors(make: Any, tokens: int) -> Errors:
    """Returns the errors of one mixer; `make` builds it from a width and a number of heads."""
    torch.manual_seed(0)
    mixer: Any = make(WIDTH, heads=HEADS).bfloat16().eval()
    x_1TD = torch.randn(1, tokens, WIDTH).bfloat16()
    exact = make(WIDTH, heads=HEADS).bfloat16().double().eval()
    exact.load_state_dict({name: value.double() for name, value in mixer.state_dict().items()})
    expected_1TD = decoded(exact, x_1TD.double())
    ways = (mixer(x_1TD), decoded(mixer, x_1TD), decoded(mixer, x_1TD, torch.bfloat16))
    return Errors(*(error(y_1TD, expected_1TD) for y_1TD in ways))


def decoded(mixer: Any, x_1TD: Tensor, rounded: torch.dtype | None = None) -> Tensor:
    """Returns the outputs token by token; `rounded` is the type in which the state is kept."""
    state, outputs = mixer.initial_state(1), []

    def kept(leaf: Any) -> Any:
        floats = isinstance(leaf, Tensor) and leaf.is_floating_point()
        return leaf.to(rounded) if rounded and floats else leaf

    for x_1D in x_1TD.unbind(1):
        y_1D, state = mixer.step(x_1D, state)
        state = tree_map(kept, state)
        outputs.append(y_1D)
    return torch.stack(outputs, dim=1)


def error(y_1TD: Tensor, expected_1TD: Tensor) -> float:
    """Returns the root mean square of the difference over the last tokens, relative to expected."""
    difference_1TD = (y_1TD.double() - expected_1TD)[:, -LAST:]
    return float(difference_1TD.norm() / expected_1TD[:, -LAST:].norm())


@torch.no_grad()
def main() -> None:
    """Prints one JSON object; the errors of each mixer go to the other stream."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=4096)
    tokens = parser.parse_args().tokens
    torch.set_num_threads(1)
    found = {}
    for make in MIXERS:
        name = make.__name__
        found[name] = errors(make, tokens)
        told = found[name]._asdict().items()
        text = "  ".join(f"{way} {value:.2%}" for way, value in told)
        print(f"{name}: {text}", file=sys.stderr, flush=True)
    ratios = {name: each.step / each.forward for name, each in found.items()}
    worst = max(ratios, key=ratios.__getitem__)
    rival = found["LinearAttention"]
    figures = {
        "step_error_over_forward_error": ratios[worst],
        "worst_mixer": worst,
        "mixers": len(found),
        "tokens": tokens,
        "linear_attention_forward_error": rival.forward,
        "linear_attention_step_error": rival.step,
        "linear_attention_rival_error": rival.rival,
        "linear_attention_rival_error_over_forward_error": rival.rival / rival.forward,
        "rival_error_over_forward_error": max(each.rival / each.forward for each in found.values()),
    }
    print(json.dumps({"bench": "decoding", "machine": hardware(), "figures": figures}))


if __name__ == "__main__":
    main()
