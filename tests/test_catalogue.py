"""The list of mixers that the office reads from their source."""

import inspect

import pytest

from move37.catalogue import ALIASES, NEAR, Entry, catalogue, find
from move37.nn.mixers import MIXERS
from move37.records import InputError


def test_the_list_is_the_registry() -> None:
    assert [entry.name for entry in catalogue()] == [mixer.__name__ for mixer in MIXERS]


@pytest.mark.parametrize("entry", catalogue(), ids=lambda entry: entry.name)
def test_every_mixer_states_recurrence_paper_cost_and_state(entry: Entry) -> None:
    assert "o_t =" in entry.recurrence
    assert "et al. arXiv:" in entry.paper
    assert entry.time.startswith("O(T")
    assert entry.time.count("(") == entry.time.count(")")
    assert "numbers" in entry.state


@pytest.mark.parametrize("entry", catalogue(), ids=lambda entry: entry.name)
def test_recurrences_fit_into_eighty_columns(entry: Entry) -> None:
    assert max(len(line) for line in entry.recurrence.splitlines()) <= 76


@pytest.mark.parametrize("name", ["GatedDeltaNet", "gateddeltanet", "gated_delta_net.py"])
def test_a_mixer_is_found_by_its_class_or_its_file(name: str) -> None:
    assert find(name).file == "gated_delta_net.py"


@pytest.mark.parametrize(
    ("name", "mixer"),
    [
        ("GLA", "GatedLinearAttention"),
        ("KDA", "KimiDeltaAttention"),
        ("RWKV-7", "RWKV7"),
        ("ret_net", "RetNet"),
        ("SSD", "Mamba2"),
        ("Mamba-2", "Mamba2"),
        ("gated deltanet", "GatedDeltaNet"),
    ],
)
def test_a_mixer_is_found_by_what_papers_call_it(name: str, mixer: str) -> None:
    assert find(name).name == mixer


def test_every_other_name_leads_to_a_mixer_and_hides_none() -> None:
    names = {entry.name for entry in catalogue()}
    assert {*ALIASES.values(), *NEAR.values()} <= names
    assert not {*ALIASES, *NEAR} & {name.lower() for name in names}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Gated", "did you mean GatedLinearAttention or GatedDeltaNet[?]"),
        ("RWKV", "did you mean RWKV7[?]"),
        ("Mamba", "did you mean Mamba2[?]"),
        ("TTT", "did you mean Titans[?]"),
        ("GatedDeltaNte", "did you mean GatedDeltaNet"),
    ],
)
def test_a_name_that_is_nearly_right_gets_a_suggestion(name: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        find(name)


def test_no_two_mixers_look_the_same_in_short() -> None:
    assert len({entry.in_short.recurrence for entry in catalogue()}) == len(catalogue())


def test_in_short_a_recurrence_loses_time_and_spaces_and_nothing_else() -> None:
    assert find("GatedDeltaNet").in_short.recurrence == "S←aS; S←S+b(v-Sk)kᵀ"
    assert find("RWKV7").in_short.recurrence == "S←S diag(w)-(Se)(a*e)ᵀ+vkᵀ"


def test_in_short_sizes_are_leading_terms() -> None:
    assert find("Hymba").in_short.state == "HVK+2WHK"
    assert find("SoftmaxAttention").in_short.state == "2HKT"
    assert find("MesaNet").in_short.time == "THK(V+nK)"


@pytest.mark.parametrize("mixer", MIXERS, ids=lambda mixer: mixer.__name__)
def test_the_options_are_those_of_the_constructor(mixer: type) -> None:
    taken = inspect.signature(mixer).parameters
    defaults = {name: one.default for name, one in taken.items() if name not in ("dim", "heads")}
    assert find(mixer.__name__).options == defaults


def test_the_constructor_is_told_as_it_is_called() -> None:
    told = "GatedLinearAttention(dim: int, *, heads: int, rank: int = 16)"
    assert find("GatedLinearAttention").constructor == told


def test_the_import_line_imports_the_mixer() -> None:
    made: dict[str, object] = {}
    exec(find("DeltaNet").import_line, made)
    assert made["DeltaNet"] in MIXERS


def test_the_source_is_the_text_of_the_file() -> None:
    assert "class DeltaNet(nn.Module):" in find("DeltaNet").source


def test_an_unknown_name_names_those_there_are() -> None:
    with pytest.raises(InputError, match=r"no mixer 'Perceptron'.*DeltaNet"):
        find("Perceptron")
