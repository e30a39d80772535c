"""What the documents say runs."""

import re
from pathlib import Path
from typing import Any

from move37.lab.loading import load_mixer
from move37.verify import CHECKS, Subject

ROOT = Path(__file__).parent.parent


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
