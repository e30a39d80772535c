"""A mixer is examined as a model calls it, and cannot tell that it is examined."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from move37.lab.loading import load_program
from move37.presets import LAPTOP
from move37.verify import CHECKS, Subject
from move37.verify.causality import KIND_ROWS, PRESET_SIZE, _situations
from move37.verify.subject import TRAINED_LENGTHS, Call, convert, run, set_dice

CHEATS = Path(__file__).parents[1] / "cheats"
SEEDS = range(20)


class Token(nn.Linear):
    """Each token by itself."""

    def __init__(self, dim: int, *, heads: int) -> None:  # noqa: ARG002
        super().__init__(dim, dim)


def subject(kind: Any = Token, seed: int = 0) -> Subject:
    return Subject(lambda width, heads: kind(width, heads=heads), 32, 2, seed=seed)


class NotesSeeds(Token):
    """Keeps the seed of PyTorch's generator when it is built, and at each call."""

    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__(dim, heads=heads)
        self.seeds = {torch.initial_seed()}

    def forward(self, x: Tensor) -> Tensor:
        self.seeds.add(torch.initial_seed())
        return super().forward(x)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_generator_has_one_seed_from_the_build_on(seed: int) -> None:
    mixer, x_1TD = subject(NotesSeeds, seed).random(0, 9)
    run(mixer, x_1TD)
    Call(train=True, gradients="graph").run(mixer, x_1TD)
    assert len(mixer.seeds) == 1  # type: ignore[arg-type]


def test_the_seed_of_the_generator_belongs_to_that_of_the_subject() -> None:
    seeds = set()
    for seed in SEEDS:
        subject(seed=seed).build()
        seeds.add(torch.initial_seed())
    assert len(seeds) == len(SEEDS)
    assert min(seeds).bit_length() < 32 < max(seeds).bit_length()


def test_numbers_give_states_that_are_repeated_and_differ() -> None:
    subject().build()
    drawn = []
    for number in (0, 1, 0):
        set_dice(number)
        drawn.append(torch.rand(3).tolist())
    assert drawn[0] == drawn[2] != drawn[1]


class NothingIsCalled(Token):
    """Raises where one of its methods is called that training does not need."""

    def _apply(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("_apply is called")

    def named_parameters(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("named_parameters is called")

    def parameters(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("parameters is called")


def test_float64_is_made_without_a_method_of_the_mixer() -> None:
    class Unbound(NothingIsCalled):
        parameters = nn.Module.parameters
        named_parameters = nn.Module.named_parameters

    mixer, x_1TD = subject(Unbound).random(0, 9)
    assert mixer.weight.dtype == x_1TD.dtype == torch.float64
    assert run(mixer, x_1TD).dtype == torch.float64


def test_converting_gives_what_double_gives() -> None:
    torch.manual_seed(0)
    mixer = nn.LSTM(4, 4)
    x = torch.randn(5, 4, dtype=torch.float64)
    mixer.register_buffer("scale", torch.rand(3))
    convert(mixer, torch.float64)
    expected = nn.LSTM(4, 4)
    expected.register_buffer("scale", torch.rand(3))
    expected.load_state_dict(mixer.state_dict())
    expected.double().load_state_dict(mixer.state_dict())
    assert torch.equal(mixer(x)[0], expected(x)[0])
    assert mixer.scale.dtype == torch.float64


def test_converting_reaches_tensors_in_lists_and_leaves_whole_numbers() -> None:
    mixer = nn.Module()
    mixer.tables = [torch.ones(2), {"places": torch.arange(3)}]  # type: ignore[assignment]
    convert(mixer, torch.float64)
    first, rest = mixer.tables  # type: ignore[misc]
    assert first.dtype == torch.float64
    assert rest["places"].dtype == torch.int64


def test_tied_parameters_stay_tied_when_they_are_converted() -> None:
    mixer = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    mixer[1].weight = mixer[0].weight
    convert(mixer, torch.float64)
    assert mixer[1].weight is mixer[0].weight


@pytest.mark.parametrize("seed", SEEDS)
def test_every_option_of_a_call_is_there_whatever_the_seed(seed: int) -> None:
    for train in (False, True):
        found = list(_situations(subject(seed=seed), 0, train=train))
        assert {s.kind for s in found} == set(subject().kinds(0, 1, 1))
        assert {s.how.gradients for s in found} == {"none", "parameters", "leaf", "graph"}
        assert {s.how.autocast for s in found} == {False, True}
        assert {s.rows for s in found} <= set(KIND_ROWS)
        assert {s.length for s in found} > set(TRAINED_LENGTHS)
        usual = [s for s in found if s.kind == "normed"]
        assert {s.length for s in usual} == set(TRAINED_LENGTHS)
        assert {s.how.gradients for s in usual} == ({"leaf", "graph"} if train else {"none"})


def test_lengths_are_drawn_anew_for_each_seed() -> None:
    lengths = {
        tuple(s.length for s in _situations(subject(seed=seed), 0, train=True)) for seed in SEEDS
    }
    assert len(lengths) == len(SEEDS)


def test_the_presets_train_at_the_lengths_and_the_size_that_are_tried() -> None:
    assert {budget.length for budget in LAPTOP.budgets} == set(TRAINED_LENGTHS)
    assert {(b.model.width, b.model.heads) for b in LAPTOP.budgets} == {PRESET_SIZE}


def test_tokens_are_what_a_norm_gives() -> None:
    size_BT = subject().tokens(0, 2, 50).square().mean(dim=2)
    assert torch.allclose(size_BT, torch.ones_like(size_BT), atol=1e-4)


@pytest.mark.parametrize(
    ("gradients", "wanted", "leaf"),
    [
        ("none", False, True),
        ("parameters", False, True),
        ("leaf", True, True),
        ("graph", True, False),
    ],
)
def test_an_input_hangs_where_it_is_said_to(gradients: Any, wanted: bool, leaf: bool) -> None:
    given = Call(train=True, gradients=gradients).give(subject().tokens(0, 2, 5))
    assert given.requires_grad == wanted
    assert given.is_leaf == leaf


def test_autocast_leaves_float64_as_it_is() -> None:
    mixer, x_1TD = subject().random(0, 9)
    plain = Call().run(mixer, x_1TD)
    assert torch.equal(Call(autocast=True).run(mixer, x_1TD), plain)


def test_at_the_full_level_a_leak_at_the_width_of_the_presets_is_found_at_another() -> None:
    source = (CHEATS / "leaks_at_the_width_of_the_presets.py").read_text()
    result = CHECKS["causality"](Subject(load_program(source).make, 64, 4, "full"))
    assert result.verdict == "failed"
    assert "(width 32, 2 heads)" in result.evidence


def test_a_width_that_a_constructor_refuses_is_not_tried() -> None:
    class Narrow(Token):
        def __init__(self, dim: int, *, heads: int) -> None:
            if dim != 64:
                raise ValueError("expected a width of 64")
            super().__init__(dim, heads=heads)

    full = Subject(lambda width, heads: Narrow(width, heads=heads), 64, 4, "full")
    assert CHECKS["causality"](full).verdict == "passed"


def test_a_leak_is_told_with_the_situation_in_which_it_shows() -> None:
    source = (CHEATS / "leaks_under_autocast.py").read_text()
    evidence = CHECKS["causality"](Subject(load_program(source).make, 32, 2)).evidence
    assert "autocast on, where all inputs are" in evidence
    assert ", T=" in evidence


def test_seeds_of_any_size_are_taken() -> None:
    assert CHECKS["causality"](subject(seed=2**63 - 1)).verdict == "passed"


def test_an_operator_that_pytorch_lacks_under_autocast_is_no_leak() -> None:
    source = (CHEATS.parent / "honest" / "uses_the_library_lstm.py").read_text()
    full = Subject(load_program(source).make, 32, 2, "full")
    assert CHECKS["causality"](full).verdict == "passed"
