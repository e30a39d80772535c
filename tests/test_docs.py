"""What the documents say runs."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from move37.catalogue import catalogue
from move37.lab.loading import load_mixer
from move37.nn.interop import stand_down
from move37.nn.interop.stand_ins import STAND_INS
from move37.verify import CHECKS, Subject

ROOT = Path(__file__).parent.parent
LIBRARY = ROOT / "docs" / "use-the-library.md"


def test_the_mixer_of_the_how_to_passes_every_check() -> None:
    text = (ROOT / "docs" / "add-a-mixer.md").read_text()
    (program,) = re.findall(r"```python\n(.*?)```", text, re.S)
    subject = Subject(load_mixer(program), width=32, heads=2)
    verdicts = {name: check(subject).verdict for name, check in CHECKS.items()}
    assert verdicts == dict.fromkeys(CHECKS, "passed") | {"chunking": "not offered"}


def test_the_check_of_the_how_to_is_a_check() -> None:
    text = (ROOT / "docs" / "add-a-check.md").read_text()
    (program,) = re.findall(r"```python\n(.*?)```", text, re.S)
    made: dict[str, Any] = {}
    exec(program, made)
    source = (ROOT / "move37" / "nn" / "mixers" / "delta_net.py").read_text()
    assert made["check_float32"](Subject(load_mixer(source), 32, 2)).verdict == "passed"


@pytest.fixture
def fla_as_before() -> Iterator[None]:
    yield
    stand_down()


@pytest.mark.usefixtures("fla_as_before")
def test_the_page_about_the_library_runs_from_top_to_bottom() -> None:
    programs = re.findall(r"```python\n(.*?)```", LIBRARY.read_text(), re.S)
    made: dict[str, Any] = {}
    for program in programs:
        exec(program, made)
    assert made["y_BTD"].shape == (2, 100, 64)
    assert made["state_bytes"] == sum(x.nbytes for x in made["mixer"].initial_state(2).values())


def test_the_page_about_the_library_names_every_option_of_the_mixers() -> None:
    text = LIBRARY.read_text()
    for entry in catalogue():
        for option in entry.options:
            assert re.search(rf"`{option}`\s\([^)]*{entry.name}", text), (entry.name, option)


@pytest.mark.parametrize("page", ["add-a-mixer.md", "use-the-library.md"])
def test_what_a_page_calls_a_stand_in_is_one(page: str) -> None:
    named = set(re.findall(r"\bfla(?:\.\w+)+", (ROOT / "docs" / page).read_text()))
    assert named
    assert named - set(STAND_INS) == set()


def test_every_check_is_explained() -> None:
    text = (ROOT / "docs" / "what-a-check-proves.md").read_text()
    assert [name for name in CHECKS if f"| `{name}` |" not in text] == []


def test_the_readme_names_every_command() -> None:
    text = (ROOT / "README.md").read_text()
    for command in ("run", "top", "show", "tree", "lessons", "step", "doctor", "verify", "import"):
        assert f"move37 {command}" in text or f"make {command}" in text


def test_no_document_holds_a_placeholder() -> None:
    for file in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        assert "@RUN@" not in file.read_text()
