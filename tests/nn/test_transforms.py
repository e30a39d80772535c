"""Operators and mixers under what PyTorch does with a function: vmap, derivatives, graphs.

The table in docs/use-the-library.md says what is offered; each of its cells is tried here.
Shape letters: B batch, T time, H heads, K key size, V value size, D width, W window.
"""

import functools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call, grad, jvp, vmap

from move37.nn import ops
from move37.nn.mixers import MIXERS
from move37.nn.mixers.rwkv7 import RWKV7

B, T, H, K, V = 2, 43, 2, 4, 3
BORDER = 20  # where the second document begins
LENGTHS = (40, 41, 64, 97, 130, 33, 7, 3, 2)
DOCUMENT = Path(__file__).parents[2] / "docs" / "use-the-library.md"

each_mixer = pytest.mark.parametrize("mixer", MIXERS, ids=lambda mixer: mixer.__name__)
# PyTorch's own, while it traces an autograd function, and in its forward-mode derivatives.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.script.* is deprecated:DeprecationWarning"),
]


def inputs_of(operator: str, length: int = T, *, seed: int = 0) -> tuple[Tensor, ...]:
    """Returns the tensors that an operator takes, in float64, without documents."""
    rng = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64)

    q, k, v = (normal(B, length, H, size) for size in (K, K, V))
    beta, decay = normal(B, length, H).sigmoid(), -normal(B, length, H).abs()
    if operator == "short_convolution":
        return normal(B, length, 6), normal(6, 4)
    if operator == "rotate":
        return (q,)
    if operator == "softmax_attention":
        return q, k, normal(B, length, H, K)  # PyTorch's kernels take values of the size of keys
    if operator == "sliding_window_attention":
        return q, k, v, normal(H, 5)
    k = F.normalize(k, dim=-1)
    if operator == "linear_attention":
        return q, k, v, -normal(B, length, H, K).abs()
    if operator == "delta_rule":
        return q, k, v, beta, decay
    if operator == "momentum_delta_rule":
        return q, k, v, beta / 2, decay - 0.7, decay
    assert operator == "generalized_delta_rule"
    return q, k, v, -k, k * beta[..., None], -normal(B, length, H, K).abs()


def inputs(length: int = T) -> Tensor:
    return torch.randn(B, length, 8, generator=torch.Generator().manual_seed(0)).double()


def made(mixer: Callable[..., nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return mixer(8, heads=2).double()


def documents(length: int = T) -> Tensor:
    return (torch.arange(length) >= BORDER).long().expand(B, length)


# ---------------------------------------------------------------- the cells of the table


def maps(operator: Callable[..., Tensor], given: tuple[Tensor, ...]) -> None:
    """`vmap` over two sets of inputs gives what each gives alone."""
    other = tuple(x.flip(0) for x in given)
    both = tuple(torch.stack(two) for two in zip(given, other, strict=True))
    expected = torch.stack([operator(*given), operator(*other)])
    torch.testing.assert_close(vmap(operator)(*both), expected)


def differentiates(operator: Callable[..., Tensor], given: tuple[Tensor, ...]) -> None:
    """`grad` gives what `backward` gives."""
    found = grad(lambda *x: operator(*x).square().sum(), tuple(range(len(given))))(*given)
    leaves = [x.clone().requires_grad_() for x in given]
    expected = torch.autograd.grad(operator(*leaves).square().sum(), leaves)
    torch.testing.assert_close(found, expected)


def goes_forward(operator: Callable[..., Tensor], given: tuple[Tensor, ...]) -> None:
    """`jvp` gives the numerical derivative in a direction."""
    rng = torch.Generator().manual_seed(1)
    along = tuple(torch.randn(x.shape, generator=rng, dtype=x.dtype) for x in given)

    def at(size: float) -> Tensor:
        return operator(*(x + size * v for x, v in zip(given, along, strict=True)))

    found = jvp(operator, given, along)[1]
    torch.testing.assert_close(found, (at(1e-5) - at(-1e-5)) / 2e-5, rtol=1e-5, atol=1e-6)


def differentiates_twice(operator: Callable[..., Tensor], given: tuple[Tensor, ...]) -> None:
    """A gradient that `create_graph` made has a gradient, that of `torch.func`."""
    leaves = [x.clone().requires_grad_() for x in given]
    first = torch.autograd.grad(operator(*leaves).square().sum(), leaves, create_graph=True)
    total = torch.stack([x.square().sum() for x in first]).sum()
    found = torch.autograd.grad(total, leaves)

    def size(*x: Tensor) -> Tensor:
        each = grad(lambda *y: operator(*y).square().sum(), tuple(range(len(given))))(*x)
        return torch.stack([dx.square().sum() for dx in each]).sum()

    torch.testing.assert_close(found, grad(size, tuple(range(len(given))))(*given))


def exports(operator: Callable[..., Tensor], at: Callable[[int], tuple[Tensor, ...]]) -> None:
    """One program, exported with a length of 43, serves lengths from 2 on."""

    class Module(nn.Module):
        def forward(self, *given: Tensor) -> Tensor:
            return operator(*given)

    length = torch.export.Dim("length", min=2, max=4096)
    shapes = tuple({1: length} if x.shape[1] == T else None for x in at(T))
    program = torch.export.export(
        Module(),
        at(T),
        dynamic_shapes=(shapes,),
        prefer_deferred_runtime_asserts_over_guards=True,
    ).module()
    for other in LENGTHS:
        torch.testing.assert_close(program(*at(other)), operator(*at(other)))


def compiles(operator: Callable[..., Tensor], at: Callable[[int], tuple[Tensor, ...]]) -> None:
    """Nine lengths need two graphs: of the first, and of all others."""
    torch._dynamo.reset()
    graphs = []

    def backend(graph: torch.fx.GraphModule, _: list[Tensor]) -> Callable[..., Any]:
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(operator, backend=backend, fullgraph=True)
    for length in LENGTHS:
        own, expected = ([x.requires_grad_(x.is_floating_point()) for x in at(length)],) * 2
        found, wanted = compiled(*own), operator(*expected)
        torch.testing.assert_close(found, wanted)
        leaves = [x for x in own if x.requires_grad]
        torch.testing.assert_close(
            torch.autograd.grad(found.square().sum(), leaves),
            torch.autograd.grad(wanted.square().sum(), leaves),
        )
    assert len(graphs) <= 2


COLUMNS: dict[str, Callable[..., None]] = {
    "`vmap`": maps,
    "`grad`": differentiates,
    "`jvp`": goes_forward,
    "`create_graph`": differentiates_twice,
    "`torch.export`": exports,
    "`torch.compile`": compiles,
}


def cells() -> Iterator[tuple[str, str, str]]:
    """Yields the operator, the transform and the answer of each cell of the documents' table."""
    lines = iter(DOCUMENT.read_text().splitlines())
    header = next(line for line in lines if line.startswith("| operator |"))
    columns = [cell.strip() for cell in header.strip("|").split("|")][1:]
    next(lines)
    for line in lines:
        if not line.startswith("|"):
            return
        operator, *answers = (cell.strip() for cell in line.strip("|").split("|"))
        yield from ((operator.strip("`"), *cell) for cell in zip(columns, answers, strict=True))


def test_the_table_has_every_operator_and_every_transform() -> None:
    steps = re.compile("_step$|^head_size$|^zero_state$")
    assert {cell[0] for cell in cells()} == {n for n in ops.__all__ if not steps.search(n)}
    assert {cell[1] for cell in cells()} == set(COLUMNS)


@pytest.mark.parametrize(
    ("operator", "column", "answer"), list(cells()), ids=lambda text: text.strip("`")
)
def test_a_cell_of_the_table_is_true(operator: str, column: str, answer: str) -> None:
    given: Any = functools.partial(inputs_of, operator)
    tried = COLUMNS[column]
    if tried not in (exports, compiles):
        given = given()
    if answer == "yes":
        tried(getattr(ops, operator), given)
    else:
        assert answer == "no"
        with pytest.raises(RuntimeError, match="not implemented"):
            tried(getattr(ops, operator), given)


# ---------------------------------------------------------------- mixers


@each_mixer
class TestEveryMixer:
    def test_maps_over_inputs_and_documents(self, mixer: Callable[..., nn.Module]) -> None:
        built, x_BTD = made(mixer), inputs()
        x, packed = torch.stack([x_BTD, x_BTD.flip(0)]), torch.stack([documents(), documents() * 0])
        expected = torch.stack([built(*each) for each in zip(x, packed, strict=True)])
        torch.testing.assert_close(vmap(built)(x, packed), expected)

    def test_has_gradients_of_each_sample(self, mixer: Callable[..., nn.Module]) -> None:
        built, x_BTD = made(mixer), inputs()
        weights: dict[str, Tensor] = dict(built.named_parameters())

        def loss(weights: dict[str, Tensor], x_TD: Tensor) -> Tensor:
            y: Tensor = functional_call(built, weights, (x_TD[None],))
            return y.square().sum()

        found = vmap(grad(loss), in_dims=(None, 0))(weights, x_BTD)
        for row in range(B):
            each = torch.autograd.grad(loss(weights, x_BTD[row]), list(weights.values()))
            torch.testing.assert_close([x[row] for x in found.values()], list(each))

    def test_goes_forward(self, mixer: Callable[..., nn.Module]) -> None:
        goes_forward(made(mixer), (inputs(),))

    def test_goes_forward_by_dual_numbers(self, mixer: Callable[..., nn.Module]) -> None:
        built, x_BTD = made(mixer), inputs()
        expected = jvp(built, (x_BTD,), (x_BTD.flip(1),))[1]
        with forward_ad.dual_level():
            dual = built(forward_ad.make_dual(x_BTD, x_BTD.flip(1)))
            torch.testing.assert_close(forward_ad.unpack_dual(dual).tangent, expected)


@pytest.mark.parametrize("tried", [exports, compiles])
def test_a_mixer_with_documents_is_one_graph_for_all_lengths(tried: Callable[..., None]) -> None:
    tried(made(RWKV7), lambda length: (inputs(length), documents(length)))
