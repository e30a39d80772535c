"""What each role is sent, word for word, for a small brief: tests/research/golden/ROLE.md.

A prompt that changed shows as a difference here. To renew them, read the differences, and

    UPDATE_GOLDEN=1 python -m pytest tests/research/test_prompts.py
"""

import functools
import json
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from move37.knowledge.retrieval import Entry, Library
from move37.records import Brief, Lesson, ModelSize, Proposal, Record
from move37.research import prompts
from move37.research.models import ModelSpec, Reply, parse_model
from move37.research.prompts import prompt, public
from move37.research.team import Team
from tests.research.play import proposed
from tests.search.builders import baselines, record, rejected

GOLDEN = Path(__file__).parent / "golden"
ROLES = ("researcher", "engineer", "novelty_judge", "analyst", "summariser", "judge")
ANSWERS = {
    "researcher": proposed(1),
    "engineer": proposed(2),
    "novelty_judge": json.dumps({"same": False}),
    "analyst": json.dumps({"text": "It forgets.", "weakness": "recall"}),
    "summariser": json.dumps(
        {"lines": ["Gates help recall.", "Wide keys cost more than they bring."]}
    ),
    "judge": json.dumps({"innovation": 5, "complexity": 5, "correctness": 5}),
}


class Sent:
    """Answers by role, and keeps the first text that each was sent."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    def ask(
        self,
        spec: ModelSpec,
        system: str,
        prompt: str,
        *,
        role: str,
        max_output_tokens: int,  # noqa: ARG002
        experiment: int | None = None,  # noqa: ARG002
    ) -> Reply:
        self.texts.setdefault(role, f"{system}\n\n---\n\n{prompt}\n")
        return Reply(ANSWERS[role], True, 1, 1, 0.0, 0.0, spec.name)


class OneEntry(Library):
    """A library of one entry."""

    def nearest(self, weakness: str, count: int) -> list[Entry]:
        trigger = weakness[:count]
        return [Entry("gates", "Gates", "A. B", 2024, "", trigger, "", "Gates.", "a_t S", ())]


@functools.cache
def _sent() -> Mapping[str, str]:
    """Returns what each role is sent about a small family of experiments."""
    history = baselines()
    parent = replace(record("Parent", experiment=3), parents=(history[1].candidate.id,))
    sibling = replace(record("Sibling", experiment=4), parents=(parent.candidate.id,))
    child = replace(record("Child", loss_gain=0.2, experiment=9), parents=(parent.candidate.id,))
    lessons = [
        Lesson(number, f"id{number}", f"Lesson number {number}.", "recall is weak")
        for number in range(8)
    ]
    lessons.append(Lesson(8, parent.candidate.id, "Its gate stays open.", "recall is weak"))
    brief = Brief(9, 0, "dice", parent, (history[0],), tuple(lessons), ())
    failures = (rejected("Leaks", experiment=9), rejected("LeaksStill", experiment=9, step=1))
    known: list[Record] = [*history, parent, sibling]
    models = Sent()
    size = ModelSize(width=64, heads=4, layers=2, parameters=100_000)
    team = Team(models, [parse_model("http://127.0.0.1:1/v1#all")], size, library=OneEntry())
    team.propose(brief)
    team.propose(replace(brief, attempt=2, failures=failures))
    tried = [(one.experiment, one.candidate.proposal) for one in known]
    team.known(brief, Proposal("Mine", "It forgets less.", "mix = 2\n", "m"), tried)
    team.analyse([child], known)
    team.judge([child], known)
    return models.texts


@pytest.mark.parametrize("role", ROLES)
def test_a_role_is_sent_what_it_was_sent_before(role: str) -> None:
    text, file = _sent()[role], GOLDEN / f"{role}.md"
    if os.environ.get("UPDATE_GOLDEN"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8"), (
        f"the prompt of the {role} has changed: if that is meant, raise its version and renew the "
        "files: UPDATE_GOLDEN=1 python -m pytest tests/research/test_prompts.py"
    )


def test_there_is_one_golden_file_for_each_prompt() -> None:
    templates = Path(prompts.__file__).parent / "prompts"
    assert {file.name for file in GOLDEN.iterdir()} == {file.name for file in templates.iterdir()}


@pytest.mark.parametrize("role", ROLES)
def test_a_prompt_names_its_version(role: str) -> None:
    assert re.match(rf"{role} \d+ ", prompt(role).version)


# ---------------------------------------------------------------- paths of this machine

HOME = Path("/home/John Doe")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("cwd:/home/me/x", "cwd:<path>"),
        ("gcc -I/home/me/include -L/opt/x", "gcc -I<path> -L<path>"),
        ("/usr/lib:/home/me/lib", "<path>:<path>"),
        ("file:///home/me/secret/x", "file://<path>"),
        ("sqlite:////home/me/x.db", "sqlite:///<path>"),
        ("'/root': denied", "'<path>': denied"),
        ("PATH=/home/John Doe/x/y", "PATH=<path>"),
        ("-I/home/John Doe, /home/John Doe's", "-I<path>, <path>'s"),
    ],
)
def test_a_path_is_taken_out_wherever_it_stands(text: str, shown: str) -> None:
    assert public(text, HOME) == shown


@pytest.mark.parametrize(
    "text",
    [
        "a/b q/k/v 1/16 O(T/C) -q/k/v n/root ./a/b",
        "https://arxiv.org/abs/2312.06635",
        "https://example.org/home/me",
    ],
)
@pytest.mark.parametrize("home", [HOME, Path("/"), Path("/root")], ids=str)
def test_what_is_no_path_stays(text: str, home: Path) -> None:
    assert public(text, home) == text
