"""Every fast operator beside its definition: values, gradients, documents, decoding.

Shape letters: B batch, T time, H heads, K key size, V value size, D width, W window.
"""

from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from move37.nn import ops
from move37.nn.ops import chunked, reference

B, T, H, K, V = 2, 63, 3, 5, 4
CHUNKS = (1, 7, 16, 62, 64, None)  # None: the size that mixers get
WINDOWS = (1, 4, 63, 70)

Inputs = dict[str, Tensor]
Operator = Callable[..., Tensor]
Decay = Literal["none", "scalar", "channel"]
DECAYS: tuple[Decay, ...] = ("none", "scalar", "channel")


class Precision(NamedTuple):
    """How near the fast operator is to its twin, relative to the largest entry."""

    dtype: torch.dtype
    tolerance: float


DOUBLE, SINGLE = Precision(torch.float64, 1e-9), Precision(torch.float32, 1e-4)
each_precision = pytest.mark.parametrize("precision", [DOUBLE, SINGLE], ids=["double", "single"])
linear_attention_and_delta_rule = pytest.mark.parametrize(
    "beta", [False, True], ids=["linear_attention", "delta_rule"]
)
each_decay = pytest.mark.parametrize("decay", DECAYS)
with_and_without_documents = pytest.mark.parametrize(
    "packed", [False, True], ids=["one document", "packed"]
)


# ---------------------------------------------------------------- inputs


class Dice:
    """Random inputs, the same for the same seed."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = torch.Generator().manual_seed(seed)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.rng, dtype=torch.float64)

    def uniform(self, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=self.rng, dtype=torch.float64)

    def recurrent(
        self, decay: Decay, *, beta: bool, shape: tuple[int, ...] = (B, T, H, K, V)
    ) -> Inputs:
        """Inputs of linear attention, or with `beta` in (0, 2) those of the delta rule."""
        B, T, H, K, V = shape
        inputs = {"q": self.normal(B, T, H, K), "k": self.normal(B, T, H, K)}
        inputs["v"] = self.normal(B, T, H, V)
        if beta:  # a unit key keeps the memory bounded
            inputs["k"] = F.normalize(inputs["k"], dim=-1)
            inputs["beta"] = 2 * self.uniform(B, T, H)
        if decay != "none":
            inputs["log_decay"] = -self.uniform(*((B, T, H) if decay == "scalar" else (B, T, H, K)))
        return inputs

    def generalized(self, shape: tuple[int, ...] = (B, T, H, K, V)) -> Inputs:
        """Inputs of the generalized delta rule whose state matrix contracts, as in RWKV-7."""
        inputs = self.recurrent("channel", beta=False, shape=shape)
        unit_BTHK = F.normalize(self.normal(*shape[:4]), dim=-1)
        inputs["erase"] = -unit_BTHK
        inputs["write"] = unit_BTHK * self.uniform(*shape[:4])
        return inputs

    def momentum(self, shape: tuple[int, ...] = (B, T, H, K, V)) -> Inputs:
        """Inputs of the delta rule with momentum."""
        inputs = self.recurrent("scalar", beta=True, shape=shape)
        inputs["beta"] = inputs["beta"] / 4
        inputs["log_momentum"] = -0.3 - self.uniform(*shape[:3])
        return inputs

    def attention(self, *, window: int | None = None) -> Inputs:
        """Inputs of softmax attention, or with `window` those of sliding window attention."""
        inputs = {"q": self.normal(B, T, H, K), "k": self.normal(B, T, H, K)}
        inputs["v"] = self.normal(B, T, H, V)
        if window is not None:
            inputs["bias"] = self.normal(H, window)
        return inputs

    def documents(self, B: int = B, T: int = T) -> Tensor:
        """Numbers (B, T) that change at every sixth position or so, and come back; rows differ."""
        starts_BT = torch.rand(B, T, generator=self.rng) < 1 / 6
        return starts_BT.cumsum(dim=1) % 2 + 100 * torch.arange(B)[:, None]


def cast(inputs: Inputs, dtype: torch.dtype) -> Inputs:
    return {name: x.to(dtype).requires_grad_() for name, x in inputs.items()}


# ---------------------------------------------------------------- operators by keyword


def linear_attention(module: Any) -> Operator:
    return lambda q, k, v, log_decay=None, **more: module.linear_attention(
        q, k, v, log_decay, **more
    )


def delta_rule(module: Any) -> Operator:
    return lambda q, k, v, beta, log_decay=None, **more: module.delta_rule(
        q, k, v, beta, log_decay, **more
    )


def recurrence(module: Any, inputs: Inputs) -> Operator:
    return delta_rule(module) if "beta" in inputs else linear_attention(module)


def generalized(module: Any) -> Operator:
    return lambda q, k, v, erase, write, log_decay, **more: module.generalized_delta_rule(
        q, k, v, erase, write, log_decay, **more
    )


def momentum(module: Any) -> Operator:
    return lambda q, k, v, beta, log_momentum, log_decay, **more: module.momentum_delta_rule(
        q, k, v, beta, log_momentum, log_decay, **more
    )


def softmax(module: Any) -> Operator:
    return lambda q, k, v, **more: module.softmax_attention(q, k, v, **more)


def sliding_window(module: Any) -> Operator:
    return lambda q, k, v, bias, **more: module.sliding_window_attention(q, k, v, bias, **more)


def convolution(module: Any) -> Operator:
    return lambda x, weight, **more: module.short_convolution(x, weight, **more)


# ---------------------------------------------------------------- comparisons


def distance(actual: Tensor, expected: Tensor) -> float:
    """The largest difference, relative to the largest expected entry; NaN is far."""
    assert actual.shape == expected.shape
    actual, expected = actual.detach(), expected.detach()
    apart = (actual.double() - expected).abs().max() / expected.abs().max().clamp(min=1e-12)
    return float("inf") if apart.isnan() else float(apart)


def values_and_gradients(operator: Operator, inputs: Inputs) -> dict[str, Tensor]:
    output = operator(**inputs)
    weights = Dice(seed=1).normal(*output.shape).to(output.dtype)
    gradients = torch.autograd.grad((output * weights).sum(), list(inputs.values()))
    return {"output": output, **dict(zip(inputs, gradients, strict=True))}


def assert_equal(
    fast: Operator, slow: Operator, inputs: Inputs, precision: Precision = DOUBLE
) -> None:
    """The fast operator's values and gradients are those of its twin in double precision."""
    rounded = {name: x.to(precision.dtype).double() for name, x in inputs.items()}
    expected = values_and_gradients(slow, cast(rounded, torch.float64))
    actual = values_and_gradients(fast, cast(inputs, precision.dtype))
    apart = {name: distance(actual[name], expected[name]) for name in expected}
    assert max(apart.values()) <= precision.tolerance, apart


def with_options(operator: Operator, **options: Any) -> Operator:
    return lambda **inputs: operator(**inputs, **options)


def each_document(documents_BT: Tensor) -> Iterator[tuple[int, slice]]:
    for row, numbers_T in enumerate(documents_BT.tolist()):
        borders = [t for t in range(1, len(numbers_T)) if numbers_T[t] != numbers_T[t - 1]]
        for first, last in zip([0, *borders], [*borders, len(numbers_T)], strict=True):
            yield row, slice(first, last)


def assert_apart_equals_packed(operator: Operator, over_time: Inputs, **fixed: Tensor) -> None:
    documents_BT = Dice(seed=2).documents()
    packed = operator(**over_time, **fixed, documents_BT=documents_BT)
    for row, span in each_document(documents_BT):
        alone = {name: x[row : row + 1, span] for name, x in over_time.items()}
        assert distance(packed[row : row + 1, span], operator(**alone, **fixed)) <= 1e-9


# ---------------------------------------------------------------- linear attention, delta rule


@each_precision
@pytest.mark.parametrize("chunk", CHUNKS)
@with_and_without_documents
@each_decay
@linear_attention_and_delta_rule
def test_recurrence_in_chunks_equals_its_definition(
    beta: bool, decay: Decay, packed: bool, chunk: int | None, precision: Precision
) -> None:
    inputs = Dice().recurrent(decay, beta=beta)
    documents = Dice().documents() if packed else None
    fast = with_options(recurrence(chunked, inputs), documents_BT=documents, chunk=chunk)
    slow = with_options(recurrence(reference, inputs), documents_BT=documents)
    assert_equal(fast, slow, inputs, precision)


@pytest.mark.parametrize("rows", [1, 2, 5])
@with_and_without_documents
def test_a_few_rows_at_a_time_equal_all_at_once(
    packed: bool, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = cast(Dice().recurrent("scalar", beta=True, shape=(5, T, H, K, V)), torch.float64)
    documents = Dice().documents(5, T) if packed else None
    rule = with_options(recurrence(chunked, inputs), documents_BT=documents)
    whole = values_and_gradients(rule, inputs)
    monkeypatch.setattr(chunked, "NUMBERS_AT_A_TIME", rows * T * H * K)
    for name, result in values_and_gradients(rule, inputs).items():
        torch.testing.assert_close(result, whole[name])


@pytest.mark.parametrize("decay", ["scalar", "channel"])
@linear_attention_and_delta_rule
class TestExtremeDecay:
    @each_precision
    def test_all_or_nothing_is_exact(self, beta: bool, decay: Decay, precision: Precision) -> None:
        inputs = Dice().recurrent(decay, beta=beta)
        forgets = Dice(seed=1).uniform(*inputs["log_decay"].shape) < 0.5
        inputs["log_decay"] = torch.where(forgets, -20.0, 0.0).double()
        fast, slow = recurrence(chunked, inputs), recurrence(reference, inputs)
        assert_equal(fast, slow, inputs, precision)

    @each_precision
    def test_strong_beside_gentle_is_exact(
        self, beta: bool, decay: Decay, precision: Precision
    ) -> None:
        inputs = Dice().recurrent(decay, beta=beta)
        forgets = Dice(seed=1).uniform(*inputs["log_decay"].shape) < 0.5
        inputs["log_decay"] = torch.where(forgets, -20.0, 0.01 * inputs["log_decay"])
        fast, slow = recurrence(chunked, inputs), recurrence(reference, inputs)
        assert_equal(fast, slow, inputs, precision)

    @each_precision
    @pytest.mark.parametrize("gentlest", [0.0, -8.0, -12.0])
    def test_all_of_the_range_is_exact(
        self, beta: bool, decay: Decay, gentlest: float, precision: Precision
    ) -> None:
        inputs = Dice().recurrent(decay, beta=beta)
        inputs["log_decay"] = gentlest + (20 + gentlest) * inputs["log_decay"]
        fast, slow = recurrence(chunked, inputs), recurrence(reference, inputs)
        assert_equal(fast, slow, inputs, precision)

    def test_stays_finite_where_the_sum_over_a_chunk_overflows_exp(
        self, beta: bool, decay: Decay
    ) -> None:
        inputs = Dice().recurrent(decay, beta=beta)
        inputs["log_decay"] = torch.full_like(inputs["log_decay"], -1000.0)
        results = values_and_gradients(recurrence(chunked, inputs), cast(inputs, torch.float32))
        assert all(x.isfinite().all() for x in results.values())


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    shape=st.tuples(
        st.integers(1, 3),
        st.integers(1, 70),
        st.integers(1, 3),
        st.integers(1, 5),
        st.integers(1, 5),
    ),
    decay=st.sampled_from(DECAYS),
    strongest=st.sampled_from([0.0, 0.01, 1.0, 20.0]),
    beta=st.booleans(),
    packed=st.booleans(),
    chunk=st.integers(1, 40),
    precision=st.sampled_from([DOUBLE, SINGLE]),
    seed=st.integers(0, 99),
)
def test_recurrence_equals_its_definition_at_any_shape(
    shape: tuple[int, int, int, int, int],
    decay: Decay,
    strongest: float,
    beta: bool,
    packed: bool,
    chunk: int,
    precision: Precision,
    seed: int,
) -> None:
    inputs = Dice(seed).recurrent(decay, beta=beta, shape=shape)
    if decay != "none":
        inputs["log_decay"] = strongest * inputs["log_decay"]
    documents = Dice(seed).documents(*shape[:2]) if packed else None
    fast = with_options(recurrence(chunked, inputs), documents_BT=documents, chunk=chunk)
    slow = with_options(recurrence(reference, inputs), documents_BT=documents)
    assert_equal(fast, slow, inputs, precision)


def test_delta_rule_with_beta_two_reflects() -> None:
    """Storing a pair twice at b = 2 leaves the memory as it was before: S k = 2 v, then 0."""
    k_BTHK = F.normalize(Dice().normal(B, 1, H, K), dim=-1).expand(B, 2, H, K)
    v_BTHV = Dice(seed=1).normal(B, 1, H, V).expand(B, 2, H, V)
    o_BTHV = ops.delta_rule(k_BTHK, k_BTHK, v_BTHV, torch.full((B, 2, H), 2.0).double())
    assert distance(o_BTHV[:, 0], 2 * v_BTHV[:, 0]) <= 1e-9
    assert o_BTHV[:, 1].abs().max() <= 1e-9


def test_delta_rule_recalls_the_last_value_of_a_key() -> None:
    """With b = 1 and orthogonal keys the memory is a dictionary."""
    eye_KK = torch.eye(3).double()
    k_BTHK = eye_KK[[0, 1, 2, 0, 1]].view(1, 5, 1, 3)
    q_BTHK = eye_KK[[0, 1, 2, 0, 2]].view(1, 5, 1, 3)
    v_BTHV = Dice().normal(1, 5, 1, V)
    o_BTHV = ops.delta_rule(q_BTHK, k_BTHK, v_BTHV, torch.ones(1, 5, 1).double())
    assert distance(o_BTHV, v_BTHV[:, [0, 1, 2, 3, 2]]) <= 1e-9


# ---------------------------------------------------------------- beyond the delta rule


@each_precision
@pytest.mark.parametrize("chunk", CHUNKS)
@with_and_without_documents
def test_generalized_delta_rule_in_chunks_equals_its_definition(
    packed: bool, chunk: int | None, precision: Precision
) -> None:
    documents = Dice().documents() if packed else None
    fast = with_options(generalized(chunked), documents_BT=documents, chunk=chunk)
    slow = with_options(generalized(reference), documents_BT=documents)
    assert_equal(fast, slow, Dice().generalized(), precision)


@each_precision
@pytest.mark.parametrize("chunk", CHUNKS)
@with_and_without_documents
def test_momentum_delta_rule_in_chunks_equals_its_definition(
    packed: bool, chunk: int | None, precision: Precision
) -> None:
    documents = Dice().documents() if packed else None
    fast = with_options(momentum(chunked), documents_BT=documents, chunk=chunk)
    slow = with_options(momentum(reference), documents_BT=documents)
    assert_equal(fast, slow, Dice().momentum(), precision)


@each_precision
@pytest.mark.parametrize("operator", [generalized, momentum])
def test_all_or_nothing_is_exact_beyond_the_delta_rule(
    operator: Callable[[Any], Operator], precision: Precision
) -> None:
    inputs = Dice().generalized() if operator is generalized else Dice().momentum()
    forgets = Dice(seed=1).uniform(*inputs["log_decay"].shape) < 0.5
    inputs["log_decay"] = torch.where(forgets, -20.0, 0.01 * inputs["log_decay"])
    assert_equal(operator(chunked), operator(reference), inputs, precision)


@each_precision
@pytest.mark.parametrize("gentlest", [0.0, -8.0, -12.0])
@pytest.mark.parametrize("operator", [generalized, momentum])
def test_all_of_the_range_is_exact_beyond_the_delta_rule(
    operator: Callable[[Any], Operator], gentlest: float, precision: Precision
) -> None:
    inputs = Dice().generalized() if operator is generalized else Dice().momentum()
    inputs["log_decay"] = gentlest + (20 + gentlest) * inputs["log_decay"]
    assert_equal(operator(chunked), operator(reference), inputs, precision)


def test_generalized_delta_rule_that_erases_its_key_is_the_delta_rule() -> None:
    inputs = Dice().recurrent("channel", beta=True)
    q, k, v, beta, log_decay = inputs.values()
    scaled_k = beta[..., None] * k
    erase = -log_decay.exp() * scaled_k
    o = ops.generalized_delta_rule(q, k, beta[..., None] * v, erase, k, log_decay)
    assert distance(o, reference.delta_rule(q, k, v, beta, log_decay)) <= 1e-9


def test_momentum_delta_rule_without_momentum_is_the_delta_rule() -> None:
    """In the delta rule the error is taken after the decay, here before it: so without decay."""
    inputs = Dice().recurrent("none", beta=True)
    q, k, v, beta = inputs.values()
    none, at_once = torch.zeros_like(beta), torch.full_like(beta, -1000.0)
    o = ops.momentum_delta_rule(q, k, v, beta, at_once, none)
    assert distance(o, reference.delta_rule(q, k, v, beta)) <= 1e-9


@linear_attention_and_delta_rule
@each_decay
def test_sixteen_thousand_tokens_stay_near_the_definition(beta: bool, decay: Decay) -> None:
    """The last outputs, from the definition in double precision over the last 2,000 tokens.

    A decay of 0.98 and less per token leaves nothing of what lies before them; without decay the
    outputs are only asked to be finite.
    """
    inputs = Dice().recurrent(decay, beta=beta, shape=(1, 16_384, 1, K, V))
    if decay != "none":
        inputs["log_decay"] = inputs["log_decay"].clamp(max=-0.02)
    single = {name: x.float() for name, x in inputs.items()}
    o = recurrence(ops, inputs)(**single)
    assert o.isfinite().all()
    if decay != "none":
        late = {name: x[:, -2000:] for name, x in inputs.items()}
        expected = recurrence(reference, inputs)(**late)
        assert distance(o[:, -50:], expected[:, -50:]) <= 1e-4


@linear_attention_and_delta_rule
@each_decay
def test_in_bfloat16_values_and_gradients_are_finite_and_near(beta: bool, decay: Decay) -> None:
    inputs = Dice().recurrent(decay, beta=beta)
    if "beta" in inputs:
        inputs["beta"] = inputs["beta"] / 2
    half = values_and_gradients(recurrence(ops, inputs), cast(inputs, torch.bfloat16))
    assert all(x.isfinite().all() for x in half.values())
    whole = recurrence(reference, inputs)(**inputs)
    assert distance(half["output"], whole) <= 0.05


@linear_attention_and_delta_rule
@pytest.mark.parametrize("decay", ["scalar", "channel"])
def test_in_bfloat16_gentle_decays_hold_beside_strong_ones(beta: bool, decay: Decay) -> None:
    """What the definition gives in double precision for the rounded inputs, rounded once."""
    inputs = Dice().recurrent(decay, beta=beta)
    forgets = Dice(seed=1).uniform(*inputs["log_decay"].shape) < 0.5
    inputs["log_decay"] = torch.where(forgets, -20.0, 0.05 * inputs["log_decay"])
    assert_equal(
        recurrence(ops, inputs),
        recurrence(reference, inputs),
        inputs,
        Precision(torch.bfloat16, 2**-7),
    )


def each_recurrence(
    decay: Decay = "channel",
) -> dict[str, tuple[Callable[[Any], Operator], Inputs]]:
    return {
        "linear_attention": (linear_attention, Dice().recurrent(decay, beta=False)),
        "delta_rule": (delta_rule, Dice().recurrent(decay, beta=True)),
        "generalized_delta_rule": (generalized, Dice().generalized()),
        "momentum_delta_rule": (momentum, Dice().momentum()),
    }


@pytest.mark.parametrize("name", each_recurrence())
class TestStretches:
    """The state passes from one stretch of time to the next, forward and backward."""

    CHUNK = 7

    @pytest.fixture(autouse=True, params=[1, 4], ids=["one chunk", "four chunks"])
    def _short(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(chunked, "NUMBERS_AT_A_TIME", B * H * K * self.CHUNK * request.param)
        monkeypatch.setattr(chunked, "STRETCH", 1)  # no cut between rows

    @each_decay
    @with_and_without_documents
    def test_values_and_gradients_are_those_of_the_definition(
        self, name: str, decay: Decay, packed: bool
    ) -> None:
        operator, inputs = each_recurrence(decay)[name]
        documents = Dice().documents() if packed else None
        fast = with_options(operator(chunked), documents_BT=documents, chunk=self.CHUNK)
        slow = with_options(operator(reference), documents_BT=documents)
        assert_equal(fast, slow, inputs)

    def test_second_derivatives_are_those_of_the_definition(self, name: str) -> None:
        operator, inputs = each_recurrence()[name]

        def second(module: Any, **options: Any) -> list[Tensor]:
            own = cast(inputs, torch.float64)
            output = operator(module)(**own, **options)
            first = torch.autograd.grad(output.square().sum(), [*own.values()], create_graph=True)
            steep = torch.stack([x.square().sum() for x in first]).sum()
            return list(torch.autograd.grad(steep, [*own.values()]))

        found = zip(second(chunked, chunk=self.CHUNK), second(reference), strict=True)
        assert max(distance(actual, expected) for actual, expected in found) <= 1e-9


@pytest.mark.parametrize("name", ["q", "k", "v", "beta", "log_decay"])
def test_second_derivatives_are_there_for_each_input_alone(name: str) -> None:
    inputs = {key: x.float() for key, x in Dice().recurrent("scalar", beta=True).items()}
    leaf = inputs[name].requires_grad_()
    (gradient,) = torch.autograd.grad(
        delta_rule(ops)(**inputs).square().sum(), leaf, create_graph=True
    )
    (second,) = torch.autograd.grad(gradient.square().sum(), leaf)
    assert second.isfinite().all()


def test_no_work_is_cut_under_a_compiler() -> None:
    is_cut = torch.compile(lambda x: x + chunked._in_pieces(x), fullgraph=True, backend="eager")
    x = torch.zeros(1)
    assert (bool(is_cut(x)), chunked._in_pieces(x)) == (False, True)


# ---------------------------------------------------------------- attention and convolution


@with_and_without_documents
@each_precision
def test_softmax_attention_equals_its_definition(packed: bool, precision: Precision) -> None:
    documents = Dice().documents() if packed else None
    fast, slow = (with_options(softmax(m), documents_BT=documents) for m in (chunked, reference))
    assert_equal(fast, slow, Dice().attention(), precision)


@with_and_without_documents
@each_precision
@pytest.mark.parametrize("window", WINDOWS)
def test_sliding_window_attention_equals_its_definition(
    window: int, packed: bool, precision: Precision
) -> None:
    documents = Dice().documents() if packed else None
    fast, slow = (
        with_options(sliding_window(m), documents_BT=documents) for m in (chunked, reference)
    )
    assert_equal(fast, slow, Dice().attention(window=window), precision)


@with_and_without_documents
@each_precision
@pytest.mark.parametrize("window", WINDOWS)
def test_short_convolution_equals_its_definition(
    window: int, packed: bool, precision: Precision
) -> None:
    documents = Dice().documents() if packed else None
    fast, slow = (
        with_options(convolution(m), documents_BT=documents) for m in (chunked, reference)
    )
    inputs = {"x": Dice().normal(B, T, 7), "weight": Dice(seed=1).normal(7, window)}
    assert_equal(fast, slow, inputs, precision)


def test_a_window_of_one_reads_the_own_value() -> None:
    inputs = Dice().attention(window=1)
    assert distance(sliding_window(ops)(**inputs), inputs["v"]) <= 1e-9


def test_a_window_over_everything_without_bias_is_softmax_attention() -> None:
    inputs = Dice().attention()
    everything = sliding_window(ops)(**inputs, bias=torch.zeros(H, T).double())
    assert distance(everything, softmax(ops)(**inputs)) <= 1e-9


def test_products_of_rotated_vectors_depend_on_their_distance_only() -> None:
    q_BTHK, k_BTHK = Dice().normal(B, 1, H, 6), Dice(seed=1).normal(B, 1, H, 6)
    products = [
        (ops.rotate(q_BTHK, first=at + 9) * ops.rotate(k_BTHK, first=at)).sum(-1)
        for at in (0, 5, 40)
    ]
    assert distance(products[1], products[0]) <= 1e-9
    assert distance(products[2], products[0]) <= 1e-9


def test_rotating_from_a_place_on_equals_rotating_everything() -> None:
    x_BTHK = Dice().normal(B, T, H, 6)
    assert distance(ops.rotate(x_BTHK[:, 17:], first=17), ops.rotate(x_BTHK)[:, 17:]) <= 1e-9


def test_rotating_from_a_place_for_each_row_equals_rotating_each_row() -> None:
    x_BTHK, first_B = Dice().normal(B, T, H, 6), torch.tensor([3, 70])
    rows = [ops.rotate(x_BTHK[i : i + 1], first=int(first_B[i])) for i in range(B)]
    assert distance(ops.rotate(x_BTHK, first=first_B), torch.cat(rows)) <= 1e-12


def test_rotations_in_float32_are_exact_at_sixteen_thousand() -> None:
    x_BTHK = Dice().normal(1, 1, H, 64)
    single = ops.rotate(x_BTHK.float(), first=16_000)
    assert distance(single, ops.rotate(x_BTHK.float().double(), first=16_000)) <= 1e-6


def test_rotations_in_bfloat16_know_positions_beyond_256() -> None:
    x_BTHK = torch.ones(1, 1, 1, 6)
    for place in (257, 4099):
        whole = ops.rotate(x_BTHK, first=place)
        half = ops.rotate(x_BTHK.bfloat16(), first=place)
        assert distance(half, whole) <= 0.02


# ---------------------------------------------------------------- inputs that are refused


class TestRefused:
    """Each names the argument, and says what was expected and what came."""

    @pytest.mark.parametrize("name", ["k", "v", "beta", "log_decay"])
    def test_a_sequence_that_is_shorter(self, name: str) -> None:
        inputs = Dice().recurrent("channel", beta=True)
        inputs[name] = inputs[name][:, :-1]
        with pytest.raises(ValueError, match=rf"delta_rule: expected {name}\S* of shape \(B, T, H"):
            delta_rule(ops)(**inputs)

    def test_documents_of_another_length(self) -> None:
        inputs = Dice().recurrent("none", beta=False)
        with pytest.raises(ValueError, match=r"documents_BT of shape \(B, T\) = \(2, 63\)"):
            linear_attention(ops)(**inputs, documents_BT=torch.zeros(B, T - 1))

    def test_no_token_at_all(self) -> None:
        inputs = Dice().recurrent("none", beta=False, shape=(B, 0, H, K, V))
        with pytest.raises(ValueError, match="at least one row and one token in q_BTHK"):
            linear_attention(ops)(**inputs)

    def test_whole_numbers(self) -> None:
        inputs = {name: x.long() for name, x in Dice().recurrent("none", beta=False).items()}
        with pytest.raises(ValueError, match=r"floating-point numbers in q_BTHK, got torch.int64"):
            linear_attention(ops)(**inputs)

    def test_a_number_for_a_tensor(self) -> None:
        q, k, v = Dice().recurrent("none", beta=False).values()
        with pytest.raises(ValueError, match="expected a tensor for beta_BTH, got float"):
            ops.delta_rule(q, k, v, 0.5)  # type: ignore[arg-type]

    def test_a_state_of_another_batch(self) -> None:
        q, k, v = (x[:, 0] for x in Dice().recurrent("none", beta=False).values())
        with pytest.raises(ValueError, match=r"S_BHVK of shape \(B, H, V, K\) = \(2, 3, 4, 5\)"):
            ops.linear_attention_step(q, k, v, torch.zeros(1, H, V, K).double())

    def test_an_odd_size_to_rotate(self) -> None:
        with pytest.raises(ValueError, match="even K"):
            ops.rotate(Dice().normal(B, T, H, 5))


# ---------------------------------------------------------------- documents


@each_decay
@linear_attention_and_delta_rule
def test_recurrence_over_packed_documents_equals_each_alone(beta: bool, decay: Decay) -> None:
    inputs = Dice().recurrent(decay, beta=beta)
    assert_apart_equals_packed(recurrence(ops, inputs), inputs)


def test_softmax_attention_over_packed_documents_equals_each_alone() -> None:
    assert_apart_equals_packed(softmax(ops), Dice().attention())


def test_sliding_window_attention_over_packed_documents_equals_each_alone() -> None:
    bias_HW = Dice().normal(H, 4)
    assert_apart_equals_packed(sliding_window(ops), Dice().attention(), bias=bias_HW)


def test_short_convolution_over_packed_documents_equals_each_alone() -> None:
    x_BTD, weight_DW = Dice().normal(B, T, 7), Dice().normal(7, 4)
    assert_apart_equals_packed(convolution(ops), {"x": x_BTD}, weight=weight_DW)


# ---------------------------------------------------------------- one token at a time


@each_decay
def test_linear_attention_step_by_step_equals_all_at_once(decay: Decay) -> None:
    inputs = Dice().recurrent(decay, beta=False)
    S_BHVK, outputs = torch.zeros(B, H, V, K).double(), []
    for t in range(T):
        now = {name: x[:, t] for name, x in inputs.items()}
        o_BHV, S_BHVK = ops.linear_attention_step(
            now["q"], now["k"], now["v"], S_BHVK, now.get("log_decay")
        )
        outputs.append(o_BHV)
    assert distance(torch.stack(outputs, dim=1), linear_attention(ops)(**inputs)) <= 1e-9


@each_decay
def test_delta_rule_step_by_step_equals_all_at_once(decay: Decay) -> None:
    inputs = Dice().recurrent(decay, beta=True)
    S_BHVK, outputs = torch.zeros(B, H, V, K).double(), []
    for t in range(T):
        now = {name: x[:, t] for name, x in inputs.items()}
        o_BHV, S_BHVK = ops.delta_rule_step(
            now["q"], now["k"], now["v"], now["beta"], S_BHVK, now.get("log_decay")
        )
        outputs.append(o_BHV)
    assert distance(torch.stack(outputs, dim=1), delta_rule(ops)(**inputs)) <= 1e-9


def test_softmax_attention_step_by_step_equals_all_at_once() -> None:
    inputs = Dice().attention()
    keys, values, outputs = torch.zeros(B, 0, H, K), torch.zeros(B, 0, H, V), []
    for t in range(T):
        now = {name: x[:, t] for name, x in inputs.items()}
        o_BHV, keys, values = ops.softmax_attention_step(
            now["q"], now["k"], now["v"], keys.double(), values.double()
        )
        outputs.append(o_BHV)
    assert distance(torch.stack(outputs, dim=1), softmax(ops)(**inputs)) <= 1e-9


@pytest.mark.parametrize("window", WINDOWS)
def test_sliding_window_attention_step_by_step_equals_all_at_once(window: int) -> None:
    inputs = Dice().attention(window=window)
    recent, outputs = torch.zeros(B, window - 1, H, K + V + 1).double(), []
    for t in range(T):
        q_BHK, k_BHK, v_BHV = (inputs[name][:, t] for name in ("q", "k", "v"))
        o_BHV, recent = ops.sliding_window_attention_step(
            q_BHK, k_BHK, v_BHV, inputs["bias"], recent
        )
        outputs.append(o_BHV)
    assert distance(torch.stack(outputs, dim=1), sliding_window(ops)(**inputs)) <= 1e-9


@pytest.mark.parametrize("window", WINDOWS)
def test_short_convolution_step_by_step_equals_all_at_once(window: int) -> None:
    x_BTD, weight_DW = Dice().normal(B, T, 7), Dice(seed=1).normal(7, window)
    recent, outputs = torch.zeros(B, window - 1, 7).double(), []
    for t in range(T):
        y_BD, recent = ops.short_convolution_step(x_BTD[:, t], weight_DW, recent)
        outputs.append(y_BD)
    together = ops.short_convolution(x_BTD, weight_DW)
    assert distance(torch.stack(outputs, dim=1), together) <= 1e-9


# ---------------------------------------------------------------- the backward written by hand


def channel_pairs(*, packed: bool) -> tuple[Callable[..., Any], tuple[Tensor, Tensor, Tensor]]:
    """`_ChannelPairs` of (q, k, g) over 2 rows, 2 chunks, 2 heads, 3 positions, 2 channels."""
    q, k = (Dice(seed).normal(2, 2, 2, 3, 2).requires_grad_() for seed in (0, 1))
    g = (-Dice(seed=2).uniform(2, 2, 2, 3, 2)).cumsum(dim=-2).requires_grad_()
    pairs_BN1CC = torch.ones(3, 3, dtype=torch.bool).tril()[None, None, None]
    if packed:
        documents_BNC = Dice().documents(2, 6).view(2, 2, 3)
        same_BNCC = documents_BNC[..., :, None] == documents_BNC[..., None, :]
        pairs_BN1CC = pairs_BN1CC & same_BNCC[:, :, None]
    apply: Callable[..., Any] = chunked._ChannelPairs.apply
    return lambda q, k, g: apply(q, k, g, g, pairs_BN1CC), (q, k, g)


@with_and_without_documents
def test_backward_of_channel_pairs_is_the_numerical_gradient(packed: bool) -> None:
    pairs, inputs = channel_pairs(packed=packed)
    assert torch.autograd.gradcheck(pairs, inputs)


@with_and_without_documents
def test_second_derivative_of_channel_pairs_is_the_numerical_one(packed: bool) -> None:
    """A program that learns at test time differentiates twice: no silent wrong number then."""
    pairs, inputs = channel_pairs(packed=packed)
    assert torch.autograd.gradgradcheck(pairs, inputs)
