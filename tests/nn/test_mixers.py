"""What every library mixer promises, said once and run over each file in `move37/nn/mixers`.

Shape letters: B batch, T time, D model width.
"""

import ast
import importlib
import inspect
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import move37.nn.mixers
from move37.nn.mixers import MIXERS
from move37.nn.mixers.kimi_delta_attention import KimiDeltaAttention
from move37.nn.mixers.ret_net import RetNet
from move37.nn.mixers.softmax_attention import SoftmaxAttention

FILES = [
    file
    for file in sorted(Path(inspect.getfile(move37.nn.mixers)).parent.glob("*.py"))
    if file.stem != "__init__"
]
ADDED_UP = ("memory", "keys", "values")  # parts of a state that are sums over tokens
WITH_GROWING_STATE = {"softmax_attention"}

B, T, HEADS = 2, 63, 4
WIDTHS = (32, 30)  # four heads do not divide 30

Build = Callable[..., Any]


def mixer_in(file: Path) -> type[nn.Module]:
    """The one mixer that a file defines."""
    module = importlib.import_module(f"move37.nn.mixers.{file.stem}")
    (mixer,) = (
        one
        for _, one in inspect.getmembers(module, inspect.isclass)
        if issubclass(one, nn.Module) and one.__module__ == module.__name__
    )
    return mixer


@pytest.fixture(params=FILES, ids=lambda file: file.stem)
def file(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


@pytest.fixture
def build(file: Path) -> Build:
    """Builds the mixer in double precision, with weights that are far from their start."""

    def build(width: int = WIDTHS[0]) -> nn.Module:
        mixer = mixer_in(file)(width, heads=HEADS).double()
        rng = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in mixer.parameters():
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=rng))
        return mixer

    return build


def inputs(T: int = T, width: int = WIDTHS[0], *, seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(B, T, width, generator=rng, dtype=torch.float64)


def distance(actual: Tensor, expected: Tensor) -> float:
    """The largest difference, relative to the largest expected entry; NaN is far."""
    assert actual.shape == expected.shape
    apart = ((actual - expected).abs().max() / expected.abs().max()).detach()
    return float("inf") if apart.isnan() else float(apart)


def decode(mixer: Any, x_BTD: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """The outputs (B, T, D) one token at a time, and the last state."""
    state, outputs = mixer.initial_state(x_BTD.shape[0]), []
    for x_BD in x_BTD.unbind(dim=1):
        y_BD, state = mixer.step(x_BD, state)
        outputs.append(y_BD)
    return torch.stack(outputs, dim=1), state


def state_bytes(state: dict[str, Tensor]) -> int:
    return sum(x.numel() * x.element_size() for x in state.values())


def test_the_registry_holds_the_mixer_of_every_file() -> None:
    assert {mixer_in(file) for file in FILES} == set(MIXERS)


def test_at_least_sixteen_mixers_are_in_the_library() -> None:
    assert len(MIXERS) >= 16


class TestEveryMixer:
    @pytest.mark.parametrize("width", WIDTHS)
    @pytest.mark.parametrize("length", [1, 2, 5, T, 65, 130])
    def test_keeps_the_shape(self, build: Build, length: int, width: int) -> None:
        x_BTD = inputs(length, width)
        assert build(width)(x_BTD).shape == x_BTD.shape

    @pytest.mark.parametrize("width", WIDTHS)
    @torch.no_grad()
    def test_step_by_step_equals_all_at_once(self, build: Build, width: int) -> None:
        mixer, x_BTD = build(width), inputs(width=width)
        assert distance(decode(mixer, x_BTD)[0], mixer(x_BTD)) <= 1e-9

    @torch.no_grad()
    def test_packed_documents_equal_each_alone(self, build: Build) -> None:
        mixer, x_BTD = build(), inputs()
        borders = [[0, 1, 20, 22, 40, T], [0, 7, 17, 18, 62, T]]  # rows differ
        documents_BT = torch.zeros(B, T, dtype=torch.long)
        for row, starts in enumerate(borders):
            for start in starts[1:-1]:
                documents_BT[row, start:] += 1
        packed_BTD = mixer(x_BTD, documents_BT)
        for row, starts in enumerate(borders):
            for first, last in itertools.pairwise(starts):
                alone_1TD = mixer(x_BTD[row : row + 1, first:last])
                assert distance(packed_BTD[row : row + 1, first:last], alone_1TD) <= 1e-9

    @torch.no_grad()
    def test_one_document_equals_no_documents(self, build: Build) -> None:
        mixer, x_BTD = build(), inputs()
        one_BT = torch.full((B, T), 3)
        assert distance(mixer(x_BTD, one_BT), mixer(x_BTD)) <= 1e-9

    @pytest.mark.parametrize("cut", [1, 15, 16, 31, 32, 62])
    @torch.no_grad()
    def test_an_output_ignores_later_inputs(self, build: Build, cut: int) -> None:
        mixer, x_BTD = build(), inputs()
        redrawn_BTD = torch.cat([x_BTD[:, :cut], inputs(seed=1)[:, cut:]], dim=1)
        assert distance(mixer(redrawn_BTD)[:, :cut], mixer(x_BTD)[:, :cut]) <= 1e-9

    @torch.no_grad()
    def test_an_output_hears_earlier_inputs(self, build: Build) -> None:
        mixer, x_BTD = build(), inputs()
        moved_BTD = x_BTD.clone()
        moved_BTD[:, 50] += 1
        assert distance(mixer(moved_BTD)[:, 60], mixer(x_BTD)[:, 60]) > 1e-6

    @torch.no_grad()
    def test_a_row_ignores_the_other_rows(self, build: Build) -> None:
        mixer, x_BTD = build(), inputs()
        assert distance(mixer(x_BTD)[1:], mixer(x_BTD[1:])) <= 1e-9

    def test_every_parameter_gets_a_gradient(self, build: Build) -> None:
        mixer = build()
        mixer(inputs()).square().sum().backward()
        assert all(p.grad.isfinite().all() and p.grad.any() for p in mixer.parameters())

    @torch.no_grad()
    def test_state_is_as_large_after_sixty_tokens_as_before_the_first(
        self, build: Build, file: Path
    ) -> None:
        mixer = build()
        after = state_bytes(decode(mixer, inputs(60))[1])
        grown = after - state_bytes(mixer.initial_state(B))
        assert (grown > 0) if file.stem in WITH_GROWING_STATE else (grown == 0)

    def test_state_starts_at_zero_in_the_mixers_own_precision(self, build: Build) -> None:
        state = build().float().initial_state(B)
        assert not any(x.any() for x in state.values())
        assert all(x.dtype == torch.float32 for x in state.values() if x.is_floating_point())

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_half_precision_is_near_float32(self, build: Build, dtype: torch.dtype) -> None:
        mixer, x_BTD = build().float(), inputs(700).float()
        with torch.no_grad():
            expected_BTD = mixer(x_BTD)
            half_BTD = mixer.to(dtype)(x_BTD.to(dtype)).float()
        assert (half_BTD - expected_BTD).abs().mean() <= 0.1 * expected_BTD.abs().mean()

    def test_same_seed_same_weights(self, file: Path) -> None:
        def weights(seed: int) -> dict[str, Tensor]:
            torch.manual_seed(seed)
            return mixer_in(file)(WIDTHS[0], heads=HEADS).state_dict()

        torch.testing.assert_close(weights(3), weights(3), rtol=0, atol=0)

    def test_file_imports_what_a_candidate_may_and_nothing_else(self, file: Path) -> None:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [f"{'.' * node.level}{node.module}.{alias.name}" for alias in node.names]
            else:
                continue
            for name in names:
                assert f"{name}.".startswith(
                    ("torch.", "math.", "move37.nn.ops.", "collections.abc.")
                )

    def test_file_says_its_recurrence_its_cost_and_its_source(self, file: Path) -> None:
        promise = inspect.getdoc(mixer_in(file)) or ""
        assert "o_t" in promise
        assert "Time O(T" in promise
        assert "et al." in promise


def test_the_memory_of_ret_net_does_not_grow_by_rounding() -> None:
    """In bfloat16, nothing stored after the first tokens: what is done at each token adds none."""
    mixer = RetNet(256, heads=8).bfloat16()
    x_BTD = inputs(1200, 256).bfloat16()
    x_BTD[:, 10:] = 0
    with torch.no_grad():
        early, late = (decode(mixer, x_BTD[:, :end])[1]["memory"][:, -1] for end in (20, 1200))
    assert late.float().norm() <= early.float().norm()


# PyTorch's own, while it traces an autograd function.
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_torch_compile_takes_channelwise_decays_whole() -> None:
    mixer, x_BTD = KimiDeltaAttention(WIDTHS[0], heads=HEADS).double(), inputs(40)
    compiled = torch.compile(mixer, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x_BTD), mixer(x_BTD))


@pytest.mark.parametrize(
    "mixer", [mixer for mixer in MIXERS if mixer is not SoftmaxAttention], ids=lambda m: m.__name__
)  # whose keys and values are copies, and no sums
def test_what_adds_up_in_a_state_is_as_wide_as_float32(mixer: type[nn.Module]) -> None:
    made: Any = mixer(16, heads=2).bfloat16()
    state = made.initial_state(1)
    for _ in range(2):
        sums = {name: value.dtype for name, value in state.items() if name in ADDED_UP}
        assert set(sums.values()) <= {torch.float32}
        y_1D, state = made.step(torch.zeros(1, 16, dtype=torch.bfloat16), state)
        assert y_1D.dtype == torch.bfloat16


@pytest.mark.parametrize("mixer", MIXERS, ids=lambda mixer: mixer.__name__)
def test_a_wider_state_is_taken_and_kept(mixer: type[nn.Module]) -> None:
    made: Any = mixer(16, heads=2)
    state = {
        name: value.double() if name in ADDED_UP else value
        for name, value in made.initial_state(1).items()
    }
    y_1D, after = made.step(torch.zeros(1, 16), state)
    assert y_1D.dtype == torch.float32
    assert {after[name].dtype for name in after if name in ADDED_UP} <= {torch.float64}
