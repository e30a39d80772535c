"""The knowledge is well-formed, and found by what it is good for."""

import re
import subprocess
import sys

import pytest

from move37.knowledge.retrieval import Entry, Library, entries
from move37.research.program import GENES


@pytest.fixture(scope="module")
def library() -> Library:
    return Library()


def test_there_are_at_least_twenty_entries_of_different_papers() -> None:
    assert len({entry.arxiv for entry in entries()}) == len(entries()) >= 20


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.id)
def test_an_entry_is_whole_and_speaks_the_composers_words(entry: Entry) -> None:
    assert re.fullmatch(r"\d{4}\.\d{4,5}", entry.arxiv)
    assert all([entry.title, entry.authors, entry.trigger, entry.background, entry.insight])
    assert entry.algorithm.strip()
    for word in entry.components:
        gene, value = word.split(":")
        assert value in GENES[gene]


def test_every_part_that_is_not_the_plain_choice_is_suggested_by_some_paper() -> None:
    suggested = {word for entry in entries() for word in entry.components}
    plain = {"identity", "free", "none", "single", "plain"}
    wanted = {f"{g}:{v}" for g, values in GENES.items() for v in values if v not in plain}
    assert wanted <= suggested


@pytest.mark.parametrize(
    ("weakness", "expected"),
    [
        ("recall of many key-value pairs is weak", "update:delta"),
        ("state tracking and parity fail", "update:reflect"),
        ("the language loss lags, local patterns are missed", "second:window"),
    ],
)
def test_a_weakness_finds_papers_that_mend_it(
    library: Library, weakness: str, expected: str
) -> None:
    near = library.nearest(weakness, 8)
    assert any(expected in entry.components for entry in near)


def test_an_entry_is_nearest_to_its_own_trigger(library: Library) -> None:
    for entry in entries():
        assert library.nearest(entry.trigger, 1) == [entry]


def test_the_embedder_leaves_the_logging_of_the_process_as_it_was() -> None:
    code = "import logging, move37.knowledge.retrieval as r\n"
    code += "r.StaticEmbedder().embed(['a'])\n"
    code += "assert not logging.getLogger().handlers\n"
    code += "assert logging.getLogger('httpx').getEffectiveLevel() == logging.WARNING\n"
    subprocess.run([sys.executable, "-c", code], check=True)
