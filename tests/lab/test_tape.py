"""A tape computes what its program computes, for other inputs too, and tells when it does not."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from move37.lab.loading import load_program
from move37.lab.tape import NotRecorded, Tape, Unknown, record
from move37.nn.counting import work_of
from tests.verify.test_checks import HONEST, MIXERS

T, D = 40, 32
GIVEN = torch.zeros(1, T, D)


def taped(mixer: nn.Module, x_BTD: Tensor) -> Tape:
    """Returns the mixer's course for an input, as it comes over the link."""
    told = record(mixer.eval(), x_BTD)
    words = json.loads(json.dumps(told.steps, allow_nan=False))
    return Tape(words, told.output, told.constants, list(mixer.parameters()))


@torch.no_grad()
@pytest.mark.parametrize("file", [*MIXERS, *HONEST], ids=lambda file: file.stem)
def test_a_tape_of_one_input_gives_the_outputs_of_another_bit_by_bit(file: Path) -> None:
    torch.manual_seed(0)
    mixer = load_program(file.read_text()).make(D, 2)
    x_BTD, other_BTD = torch.randn(2, 1, T, D)
    tape = taped(mixer, x_BTD.clone())
    assert torch.equal(tape.play(2 * other_BTD)[0], mixer(2 * other_BTD))


class Lambda(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.function(x_BTD)


@torch.no_grad()
def test_a_tape_does_the_work_of_its_program_and_no_more() -> None:
    table = torch.arange(D).float()
    mixer = Lambda(lambda x_BTD: (x_BTD * table).cumsum(dim=1))
    x_BTD = torch.randn(1, T, D)
    assert taped(mixer, x_BTD).play(x_BTD)[1].total == work_of(mixer, x_BTD)


def test_a_course_that_depends_on_the_input_gives_other_outputs() -> None:
    mixer = Lambda(lambda x_BTD: x_BTD if x_BTD.sum() > 0 else -x_BTD)
    tape = taped(mixer, torch.ones(1, T, D))
    assert not torch.equal(tape.play(-torch.ones(1, T, D))[0], mixer(-torch.ones(1, T, D)))


class WritesIntoItsWeights(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(D))

    def forward(self, x_BTD: Tensor) -> Tensor:
        return x_BTD + self.weight.data.add_(1)


@pytest.mark.parametrize(
    "mixer",
    [Lambda(lambda x_BTD: x_BTD + torch.tensor(1.0).add_(x_BTD.sum())), WritesIntoItsWeights()],
)
def test_what_a_tape_has_written_is_forgotten_before_the_next_input(mixer: nn.Module) -> None:
    tape = taped(mixer, GIVEN)
    assert torch.equal(tape.play(torch.ones(1, T, D))[0], tape.play(torch.ones(1, T, D))[0])


def test_numbers_that_json_has_not_are_told() -> None:
    tape = taped(Lambda(lambda x_BTD: x_BTD.masked_fill(x_BTD > 0, float("-inf"))), GIVEN)
    assert tape.play(torch.ones(1, 1, 1))[0].item() == float("-inf")


def test_what_an_operator_is_given_and_json_cannot_tell_is_not_recorded() -> None:
    dice = torch.Generator()
    with pytest.raises(NotRecorded, match="Generator"):
        record(Lambda(lambda x_BTD: x_BTD + torch.rand(1, generator=dice)), GIVEN)


@pytest.mark.parametrize(
    "name", ["aten::from_file", "aten::bmm_", "prims::add", "quantized::add", "add"]
)
def test_an_operator_that_is_not_known_is_not_played(name: str) -> None:
    with pytest.raises(Unknown):
        Tape([[name, "", [], {}]], 0, [], [])


@pytest.mark.parametrize(
    "name",
    [
        "max_pool2d_with_indices_backward",
        "adaptive_max_pool2d_backward",
        "embedding_dense_backward",
        "_cummax_helper",
        "native_layer_norm_backward",
        "native_batch_norm",
        "_weight_norm_interface",
        "unfold_backward",
        "log_sigmoid_backward",
        "set_",
    ],
)
def test_an_operator_that_trusts_sizes_or_indices_is_not_played(name: str) -> None:
    """With wrong arguments each of these reads or writes beyond its tensors without a word."""
    with pytest.raises(Unknown, match=name):
        Tape([[f"aten::{name}", "", [], {}]], 0, [], [])


EMPTY = {
    "empty": ["aten::empty", "memory_format", [[4096]], {}],
    "new_empty": ["aten::new_empty", "", [{"tensor": 0}, [4096]], {}],
    "empty_strided": ["aten::empty_strided", "", [[4096], [1]], {}],
    "resize_": ["aten::resize_", "", [{"tensor": 0}, [1 << 20]], {}],
}


@pytest.mark.parametrize("name", EMPTY)
def test_memory_that_nobody_has_set_holds_nothing_of_earlier_plays(name: str) -> None:
    """A tape that remembers in freed memory would repeat what it said when it is asked again."""
    for number in range(20):  # freed at once, to be found again
        Tape([["aten::full", "", [[4096], float(number)], {}]], 1, [], []).play(GIVEN)
    x_BTD = torch.full((1, T, D), 7.0)
    last = Tape([EMPTY[name]], 1, [], []).play(x_BTD)[0].flatten()[-2000:]
    assert last.isnan().all()


def test_each_play_begins_with_the_same_random_state() -> None:
    tape = Tape([["aten::rand", "", [[5]], {}]], 1, [], [])
    assert torch.equal(tape.play(GIVEN)[0], tape.play(GIVEN)[0])


ADD = ["aten::add", "Tensor"]
X = {"tensor": 0}


@pytest.mark.parametrize(
    ("words", "output"),
    [
        (7, 0),
        ([7], 0),
        ([["aten::add"]], 0),
        ([["aten::add", "Nobody", [], {}]], 0),
        ([[*ADD, [X], {}]], 0),  # one argument of two
        ([[*ADD, [X, {"tensor": 5}], {}]], 0),
        ([[*ADD, [X, {"dtype": "load"}], {}]], 0),
        ([[*ADD, [X, {"dtype": "float32", "layout": "strided"}], {}]], 0),
        ([[*ADD, [X, {"number": "many"}], {}]], 0),
        ([[*ADD, [X, {"module": "os"}], {}]], 0),
        ([[*ADD, [X, "text"], {}]], 0),
        ([None], 0),  # a constant that did not come
        ([], 1),
        ([], "0"),
    ],
)
def test_words_that_are_no_tape_are_not_played(words: Any, output: Any) -> None:
    with pytest.raises(
        (TypeError, ValueError, AttributeError, LookupError, StopIteration, RuntimeError)
    ):
        Tape(words, output, [], []).play(GIVEN)
