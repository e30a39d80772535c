"""The list of mixers that the office reads from their source."""

import pytest

from move37.catalogue import Entry, catalogue, find
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


def test_the_source_is_the_text_of_the_file() -> None:
    assert "class DeltaNet(nn.Module):" in find("DeltaNet").source


def test_an_unknown_name_names_those_there_are() -> None:
    with pytest.raises(InputError, match=r"no mixer 'Perceptron'.*DeltaNet"):
        find("Perceptron")
