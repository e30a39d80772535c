"""The way to the kernels of `fla`, on CPU with slow stand-ins; and on a GPU the kernels themselves.

The stand-ins have the argument names, the layout and the defaults of fla 0.5 and refuse all
else. They show that our inputs reach the right kernel in the right form, not that fla is right:
that is for the tests marked `gpu`.

Shape letters: B batch, T time, H heads, K key size, V value size.
"""

import importlib.util
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses import FakeTensorMode

from move37.nn.counting import Work
from move37.nn.ops import kernels, reference
from tests.nn.test_ops import (
    Decay,
    Dice,
    Inputs,
    Operator,
    Precision,
    assert_equal,
    distance,
    each_decay,
    linear_attention_and_delta_rule,
    recurrence,
    with_and_without_documents,
    with_options,
)

B, T, H, K, V = 2, 63, 3, 5, 4

Stepper = Callable[[Tensor, int], Tensor]


# ---------------------------------------------------------------- stand-ins for fla


def scanned(
    q: Tensor, v: Tensor, scale: float | None, cu_seqlens: Tensor | None, step: Stepper
) -> tuple[Tensor, None]:
    """fla's frame around each recurrence: the state is (K, V), and `scale` q reads it."""
    B, T, H, K = q.shape
    assert K % 2 == v.shape[-1] % 2 == 0  # as fla's kernels want in half precision
    starts = {0}
    if cu_seqlens is not None:
        borders = cu_seqlens.tolist()
        assert B == 1
        assert cu_seqlens.dtype == torch.int64
        assert (borders[0], borders[-1]) == (0, T)
        assert borders == sorted(set(borders))
        starts = set(borders)
    zero_BHKV = torch.zeros(B, H, K, v.shape[-1], dtype=torch.float64)
    S_BHKV, outputs = zero_BHKV, []
    for t in range(T):
        S_BHKV = step(zero_BHKV if t in starts else S_BHKV, t)
        outputs.append(torch.einsum("bhk,bhkv->bhv", q[:, t].double(), S_BHKV))
    o_BTHV = torch.stack(outputs, dim=1) * (K**-0.5 if scale is None else scale)
    return o_BTHV.to(q.dtype), None


def outer(k: Tensor, v: Tensor, t: int) -> Tensor:
    return k[:, t, :, :, None].double() * v[:, t, :, None, :]


def chunk_simple_gla(
    *,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None = None,
    scale: float | None = None,
    cu_seqlens: Tensor | None = None,
) -> tuple[Tensor, None]:
    assert g is None or g.shape == q.shape[:3]

    def step(S: Tensor, t: int) -> Tensor:
        decay = 1.0 if g is None else g[:, t, :, None, None].double().exp()
        return S * decay + outer(k, v, t)

    return scanned(q, v, scale, cu_seqlens, step)


def chunk_gla(
    *,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    scale: float | None = None,
    cu_seqlens: Tensor | None = None,
) -> tuple[Tensor, None]:
    assert g.shape == q.shape

    def step(S: Tensor, t: int) -> Tensor:
        return S * g[:, t, :, :, None].double().exp() + outer(k, v, t)

    return scanned(q, v, scale, cu_seqlens, step)


def chunk_delta_rule(
    *,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    scale: float | None = None,
    cu_seqlens: Tensor | None = None,
) -> tuple[Tensor, None]:
    assert q.dtype != torch.float32  # as fla's own
    g = torch.zeros_like(k)
    return chunk_kda(q=q, k=k, v=v, g=g, beta=beta, scale=scale, cu_seqlens=cu_seqlens)


def chunk_gated_delta_rule(
    *,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    beta: Tensor,
    scale: float | None = None,
    cu_seqlens: Tensor | None = None,
) -> tuple[Tensor, None]:
    assert g.shape == q.shape[:3]
    return chunk_kda(
        q=q, k=k, v=v, g=g[..., None].expand_as(k), beta=beta, scale=scale, cu_seqlens=cu_seqlens
    )


def chunk_kda(
    *,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    beta: Tensor,
    scale: float | None = None,
    cu_seqlens: Tensor | None = None,
) -> tuple[Tensor, None]:
    assert g.shape == q.shape

    def step(S: Tensor, t: int) -> Tensor:
        S = S * g[:, t, :, :, None].double().exp()
        recalled = (S * k[:, t, :, :, None]).sum(dim=-2)
        new = (v[:, t] - recalled) * beta[:, t, :, None]
        return S + k[:, t, :, :, None] * new[:, :, None, :]

    return scanned(q, v, scale, cu_seqlens, step)


def chunk_dplr_delta_rule(
    *,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    a: Tensor,
    b: Tensor,
    gk: Tensor,
    scale: float | None = None,
    cu_seqlens: Tensor | None = None,
) -> tuple[Tensor, None]:
    assert gk.shape == q.shape

    def step(S: Tensor, t: int) -> Tensor:
        read = (S * a[:, t, :, :, None]).sum(dim=-2)
        decayed = S * gk[:, t, :, :, None].double().exp()
        return decayed + outer(k, v, t) + b[:, t, :, :, None] * read[:, :, None, :]

    return scanned(q, v, scale, cu_seqlens, step)


STAND_INS: tuple[Callable[..., tuple[Tensor, None]], ...] = (
    chunk_simple_gla,
    chunk_gla,
    chunk_delta_rule,
    chunk_gated_delta_rule,
    chunk_kda,
    chunk_dplr_delta_rule,
)


class Fla:
    """A package `fla` made of stand-ins, and the calls that reached it."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.package, self.kernels = ModuleType("fla"), ModuleType("fla.ops")
        vars(self.package)["__version__"] = "0.5.0"
        for stand_in in STAND_INS:
            vars(self.kernels)[stand_in.__name__] = self.recorded(stand_in)

    def recorded(self, stand_in: Callable[..., Any]) -> Callable[..., Any]:
        def kernel(**inputs: Any) -> Any:
            self.calls.append((stand_in.__name__, inputs))
            return stand_in(**inputs)

        return kernel


@pytest.fixture
def forgotten() -> Iterator[None]:
    """What is known of fla is asked again, before and after."""
    kernels._fla.cache_clear()
    kernels._wrong_on.cache_clear()
    yield
    kernels._fla.cache_clear()
    kernels._wrong_on.cache_clear()


@pytest.fixture
def fla(monkeypatch: pytest.MonkeyPatch, forgotten: None) -> Fla:  # noqa: ARG001
    fla = Fla()
    monkeypatch.setitem(sys.modules, "fla", fla.package)
    monkeypatch.setitem(sys.modules, "fla.ops", fla.kernels)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    return fla


# ---------------------------------------------------------------- the generalized delta rule


def general_inputs(shape: tuple[int, ...] = (B, T, H, K, V)) -> Inputs:
    inputs = Dice().recurrent("channel", beta=False, shape=shape)
    unit_BTHK = F.normalize(Dice(seed=1).normal(*shape[:4]), dim=-1)
    inputs["erase"] = -unit_BTHK
    inputs["write"] = unit_BTHK * Dice(seed=2).uniform(*shape[:4])  # the memory stays bounded
    return inputs


def general(operator: Callable[..., Tensor]) -> Operator:
    return lambda q, k, v, erase, write, log_decay, **more: operator(
        q, k, v, erase, write, log_decay, **more
    )


# ---------------------------------------------------------------- the way to the kernels


@pytest.mark.usefixtures("fla")
@with_and_without_documents
@each_decay
@linear_attention_and_delta_rule
def test_recurrence_by_kernels_equals_its_definition(
    beta: bool, decay: Decay, packed: bool
) -> None:
    inputs = Dice().recurrent(decay, beta=beta)
    documents = Dice().documents() if packed else None
    fast, slow = (
        with_options(recurrence(module, inputs), documents_BT=documents)
        for module in (kernels, reference)
    )
    assert_equal(fast, slow, inputs)


@pytest.mark.usefixtures("fla")
@with_and_without_documents
def test_generalized_delta_rule_by_kernels_equals_its_definition(packed: bool) -> None:
    documents = Dice().documents() if packed else None
    fast, slow = (
        with_options(general(operator), documents_BT=documents)
        for operator in (kernels.generalized_delta_rule, reference.generalized_delta_rule)
    )
    assert_equal(fast, slow, general_inputs())


@pytest.mark.usefixtures("fla")
def test_generalized_delta_rule_that_erases_its_key_is_the_delta_rule() -> None:
    """S a - b (S a k) k^T: what the delta rule reads is decayed, hence the a in `erase`."""
    inputs = Dice().recurrent("channel", beta=True)
    q, k, v, beta, log_decay = (inputs[name] for name in ("q", "k", "v", "beta", "log_decay"))
    beta_BTH1 = beta[..., None]
    erase = -beta_BTH1 * log_decay.exp() * k
    o = kernels.generalized_delta_rule(q, k, beta_BTH1 * v, erase, k, log_decay)
    assert distance(o, reference.delta_rule(q, k, v, beta, log_decay)) <= 1e-9


@pytest.mark.parametrize(
    ("beta", "decay", "kernel"),
    [
        (False, "none", "chunk_simple_gla"),
        (False, "scalar", "chunk_simple_gla"),
        (False, "channel", "chunk_gla"),
        (True, "none", "chunk_delta_rule"),
        (True, "scalar", "chunk_gated_delta_rule"),
        (True, "channel", "chunk_kda"),
    ],
)
def test_each_decay_has_its_kernel(fla: Fla, beta: bool, decay: Decay, kernel: str) -> None:
    inputs = Dice().recurrent(decay, beta=beta)
    recurrence(kernels, inputs)(**inputs)
    assert [name for name, _ in fla.calls] == [kernel]


def test_the_delta_rule_in_single_precision_has_the_kernel_that_takes_it(fla: Fla) -> None:
    inputs = {name: x.float() for name, x in Dice().recurrent("none", beta=True).items()}
    recurrence(kernels, inputs)(**inputs)
    assert [name for name, _ in fla.calls] == ["chunk_gated_delta_rule"]


@pytest.mark.parametrize("decay", ["scalar", "channel"])
@linear_attention_and_delta_rule
def test_gates_of_half_precision_reach_the_kernel_in_single(
    fla: Fla, beta: bool, decay: Decay
) -> None:
    inputs = {name: x.bfloat16() for name, x in Dice().recurrent(decay, beta=beta).items()}
    assert recurrence(kernels, inputs)(**inputs).dtype == torch.bfloat16
    assert fla.calls[0][1]["g"].dtype == torch.float32


def test_what_is_forgotten_below_rounding_does_not_swell_the_gates(fla: Fla) -> None:
    inputs = {name: x.float() for name, x in Dice().recurrent("channel", beta=True).items()}
    inputs["log_decay"] = torch.full_like(inputs["log_decay"], -1000.0)
    recurrence(kernels, inputs)(**inputs)
    assert -40 < fla.calls[0][1]["g"].min() < -30


def test_a_row_begins_a_document_whatever_its_number() -> None:
    assert kernels.borders(torch.tensor([[7, 7, 8], [8, 8, 8]])).tolist() == [0, 2, 3, 6]


# ---------------------------------------------------------------- derivatives


def first_and_second(operator: Operator, inputs: Inputs) -> dict[str, Tensor]:
    """Gradients with respect to `inputs`, and of their weighted sum again; the key hangs on q."""
    leaves = {name: x.detach().requires_grad_() for name, x in inputs.items()}
    k = F.normalize(leaves["q"] + leaves["k"], dim=-1)
    output = operator(**{**leaves, "k": k})
    first = torch.autograd.grad(
        (output * Dice(seed=1).normal(*output.shape)).sum(), [*leaves.values()], create_graph=True
    )
    weights = [Dice(seed=2).normal(*g.shape) for g in first]
    second = torch.autograd.grad(first, [*leaves.values()], weights)
    named = {f"first of {name}": g for name, g in zip(leaves, first, strict=True)}
    return named | {f"second of {name}": g for name, g in zip(leaves, second, strict=True)}


@pytest.mark.usefixtures("fla")
@each_decay
@linear_attention_and_delta_rule
def test_gradients_that_are_differentiated_again_are_those_of_the_definition(
    beta: bool, decay: Decay
) -> None:
    """A Triton backward is a constant to autograd: no silent wrong number from it."""
    inputs = Dice().recurrent(decay, beta=beta)
    actual, expected = (
        first_and_second(recurrence(module, inputs), inputs) for module in (kernels, reference)
    )
    apart = {name: distance(actual[name], expected[name]) for name in expected}
    assert max(apart.values()) <= 1e-9, apart


@pytest.mark.usefixtures("fla")
def test_a_second_pass_over_a_retained_graph_finds_the_same_gradient() -> None:
    q, k, v, log_decay = Dice().recurrent("scalar", beta=False).values()
    total = kernels.linear_attention(q.requires_grad_(), k, v, log_decay).square().sum()
    first, second = (torch.autograd.grad(total, q, retain_graph=True)[0] for _ in range(2))
    assert distance(second, first) <= 1e-9


# ---------------------------------------------------------------- when the kernels are used


def on_cuda(
    K: int = 64, V: int = 64, dtype: torch.dtype = torch.bfloat16
) -> tuple[Tensor, Tensor, Tensor]:
    """q, k and v that say they are on CUDA, and hold nothing."""
    with FakeTensorMode():
        q, k = (torch.empty(1, 8, 2, K, dtype=dtype, device="cuda") for _ in range(2))
        return q, k, torch.empty(1, 8, 2, V, dtype=dtype, device="cuda")


@pytest.fixture
def multiplies_in_tf32() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    yield
    torch.set_float32_matmul_precision(before)


@pytest.mark.usefixtures("fla")
class TestUsable:
    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_half_precision_on_cuda_is(self, dtype: torch.dtype) -> None:
        assert kernels.usable(*on_cuda(dtype=dtype))

    def test_nothing_on_cpu_is(self) -> None:
        assert not kernels.usable(*(torch.zeros(1, 8, 2, 64).bfloat16() for _ in range(3)))

    def test_double_precision_is_not(self) -> None:
        assert not kernels.usable(*on_cuda(dtype=torch.float64))

    def test_single_precision_is_not_while_pytorch_multiplies_exactly(self) -> None:
        assert not kernels.usable(*on_cuda(dtype=torch.float32))

    @pytest.mark.usefixtures("multiplies_in_tf32")
    def test_single_precision_is_where_pytorch_multiplies_in_tf32(self) -> None:
        assert kernels.usable(*on_cuda(dtype=torch.float32))

    def test_mixed_precision_is_not(self) -> None:
        q, k, _ = on_cuda()
        _, _, v = on_cuda(dtype=torch.float16)
        assert not kernels.usable(q, k, v)

    @pytest.mark.parametrize(("K", "V"), [(8, 64), (64, 8), (272, 64)])
    def test_sizes_that_kernels_refuse_are_not(self, K: int, V: int) -> None:
        assert not kernels.usable(*on_cuda(K, V))

    @pytest.mark.parametrize(("K", "V"), [(16, 16), (20, 17), (256, 512)])
    def test_sizes_need_no_power_of_two(self, K: int, V: int) -> None:
        assert kernels.usable(*on_cuda(K, V))

    def test_nothing_is_while_operators_are_counted(self) -> None:
        q, k, v = on_cuda()
        with Work():
            assert not kernels.usable(q, k, v)


def log_decay_on_cuda(decay: Decay) -> Tensor | None:
    shape = {"none": None, "scalar": (1, 8, 2), "channel": (1, 8, 2, 64)}[decay]
    with FakeTensorMode():
        return None if shape is None else torch.empty(shape, device="cuda")


class TestHopper:
    """Where gradients of scalar decays are wrong, see `kernels.WRONG_ON_HOPPER`."""

    @pytest.fixture(autouse=True)
    def _hopper(self, fla: Fla, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG002
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        self.triton(monkeypatch, "3.6.0")

    def triton(self, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
        triton = ModuleType("triton")
        vars(triton)["__version__"] = version
        monkeypatch.setitem(sys.modules, "triton", triton)

    def test_scalar_decays_are_left_to_the_chunked_twin_and_the_way_out_is_told(self) -> None:
        with pytest.warns(UserWarning, match=r"Triton 3\.6\.0 gives wrong gradients.*3\.7\.1"):
            assert not kernels.usable(*on_cuda(), log_decay_on_cuda("scalar"))

    @pytest.mark.parametrize("decay", ["none", "channel"])
    def test_other_decays_are_not(self, decay: Decay) -> None:
        assert kernels.usable(*on_cuda(), log_decay_on_cuda(decay))

    @pytest.mark.usefixtures("multiplies_in_tf32")
    def test_nor_is_the_delta_rule_in_single_precision_whose_kernel_has_a_decay(self) -> None:
        with pytest.warns(UserWarning, match="wrong gradients"):
            assert not kernels.usable(*on_cuda(dtype=torch.float32), delta=True)
        assert kernels.usable(*on_cuda(dtype=torch.float32))

    @pytest.mark.parametrize("version", ["3.3.1", "3.7.1", "3.10.0+git1"])
    def test_other_versions_are_right(self, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
        self.triton(monkeypatch, version)
        assert kernels.usable(*on_cuda(), log_decay_on_cuda("scalar"))

    def test_tilelang_takes_their_place(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
        assert kernels.usable(*on_cuda(), log_decay_on_cuda("scalar"))


@pytest.mark.usefixtures("forgotten")
def test_without_fla_nothing_is_usable_and_nothing_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "fla", None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not kernels.usable(*on_cuda())


def test_an_old_fla_is_named_and_not_used(fla: Fla) -> None:
    vars(fla.package)["__version__"] = "0.4.2"
    with pytest.warns(UserWarning, match=r"0\.4\.2 is too old"):
        assert not kernels.usable(*on_cuda())


def test_a_broken_fla_is_named_and_not_used(fla: Fla, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fla.calls == []
    monkeypatch.setitem(sys.modules, "fla.ops", None)
    with pytest.warns(UserWarning, match="not importable"):
        assert not kernels.usable(*on_cuda())


def test_importing_kernels_does_not_look_for_fla() -> None:
    program = """
import sys
asked = []
class Spy:
    def find_spec(name, *_):
        asked.append(name)
sys.meta_path.insert(0, Spy)
import move37.nn.ops.kernels
assert "torch" in asked
assert "fla" not in asked
"""
    subprocess.run([sys.executable, "-c", program], check=True)


# ---------------------------------------------------------------- the kernels themselves


# The kernels multiply in TF32, whose 10 bits leave 5e-4 per product. With products rounded so in
# Triton's interpreter the largest entry of value or gradient was off by 1.4e-3.
TF32 = Precision(torch.float32, 5e-3)
HALF = Precision(torch.bfloat16, 5e-2)  # whose 8 bits leave 4e-3 per product
GPU_SHAPE = (2, 163, 3, 20, 17)  # three chunks of 64; no size is a power of two


def needs_gpu_and_fla(test: Callable[..., None]) -> Callable[..., None]:
    missing = [
        name
        for name, there in [
            ("a CUDA device", torch.cuda.is_available()),
            ("flash-linear-attention", importlib.util.find_spec("fla") is not None),
        ]
        if not there
    ]
    marks = [
        pytest.mark.gpu,
        pytest.mark.skipif(bool(missing), reason=f"needs {' and '.join(missing)}"),
        # fla imports what warns at import, and its generalized delta rule warns of float32.
        pytest.mark.filterwarnings("default"),
    ]
    for mark in marks:
        test = mark(test)
    return test


def on_gpu(operator: Operator, documents_BT: Tensor | None = None) -> Operator:
    def moved(**inputs: Tensor | None) -> Tensor:
        given = {**inputs, "documents_BT": documents_BT}
        return operator(
            **{name: None if x is None else x.cuda() for name, x in given.items()}
        ).cpu()

    return moved


def needs_usable(inputs: Inputs, precision: Precision) -> None:
    """Skips where the card or its Triton cannot take these, and the chunked twin does."""
    given = (inputs.get(name) for name in ("q", "k", "v", "log_decay"))
    moved = [None if x is None else x.to("cuda", precision.dtype) for x in given]
    if not kernels.usable(*moved, delta="beta" in inputs):  # type: ignore[arg-type]
        pytest.skip("this Triton gives wrong gradients of scalar decays on this card")


@needs_gpu_and_fla
@with_and_without_documents
def test_kernels_of_the_delta_rule_in_half_precision_equal_its_definition(packed: bool) -> None:
    inputs = Dice().recurrent("none", beta=True, shape=GPU_SHAPE)
    documents_BT = Dice().documents(*GPU_SHAPE[:2]) if packed else None
    fast = on_gpu(recurrence(kernels, inputs), documents_BT)
    slow = with_options(recurrence(reference, inputs), documents_BT=documents_BT)
    assert_equal(fast, slow, inputs, HALF)


@needs_gpu_and_fla
@pytest.mark.usefixtures("multiplies_in_tf32")
@with_and_without_documents
@each_decay
@linear_attention_and_delta_rule
def test_kernels_of_recurrence_equal_its_definition(beta: bool, decay: Decay, packed: bool) -> None:
    inputs = Dice().recurrent(decay, beta=beta, shape=GPU_SHAPE)
    needs_usable(inputs, TF32)
    documents_BT = Dice().documents(*GPU_SHAPE[:2]) if packed else None
    fast = on_gpu(recurrence(kernels, inputs), documents_BT)
    slow = with_options(recurrence(reference, inputs), documents_BT=documents_BT)
    assert_equal(fast, slow, inputs, TF32)


@needs_gpu_and_fla
@with_and_without_documents
def test_kernels_of_generalized_delta_rule_equal_its_definition(packed: bool) -> None:
    documents_BT = Dice().documents(*GPU_SHAPE[:2]) if packed else None
    fast = on_gpu(general(kernels.generalized_delta_rule), documents_BT)
    slow = with_options(general(reference.generalized_delta_rule), documents_BT=documents_BT)
    assert_equal(fast, slow, general_inputs(GPU_SHAPE), TF32)


@needs_gpu_and_fla
@pytest.mark.parametrize("decay", ["scalar", "channel"])
@linear_attention_and_delta_rule
def test_kernels_keep_the_gentle_decay_beside_the_strong(beta: bool, decay: Decay) -> None:
    inputs = Dice().recurrent(decay, beta=beta, shape=GPU_SHAPE)
    forgets = Dice(seed=1).uniform(*inputs["log_decay"].shape) < 0.5
    inputs["log_decay"] = torch.where(forgets, -20.0, 0.01 * inputs["log_decay"])
    needs_usable(inputs, TF32)
    fast, slow = (recurrence(module, inputs) for module in (kernels, reference))
    assert_equal(on_gpu(fast), slow, inputs, TF32)
