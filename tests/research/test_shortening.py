"""A request that is too long for a model: what each role leaves out, and that it says so."""

import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from move37.knowledge.retrieval import Library
from move37.records import Brief, Lesson, Proposal
from move37.research.analyst import analyse
from move37.research.models import ModelSpec, Reply, TooLong, parse_model
from move37.research.researcher import NoProposal
from move37.research.shortening import SHORTER
from move37.research.team import Team
from tests.research.play import SIZE, Kept, program, proposed
from tests.search.builders import baselines, record, rejected

HISTORY = baselines()
PARENT = replace(record("Parent", experiment=3), parents=(HISTORY[1].candidate.id,))
SIBLINGS = [
    replace(record(f"Sibling{n}", experiment=4 + n), parents=(PARENT.candidate.id,))
    for n in range(3)
]
CHILD = replace(record("Child", loss_gain=0.2, experiment=9), parents=(PARENT.candidate.id,))
KNOWN = [*HISTORY, PARENT, *SIBLINGS]
LESSONS = tuple(Lesson(n, f"id{n}", f"Lesson number {n}.", "recall is weak") for n in range(24))
FAILURES = (rejected("Leaks", experiment=9), rejected("LeaksStill", experiment=9, step=1))
BRIEF = Brief(9, 0, "dice", PARENT, tuple(HISTORY), LESSONS, ())
ANSWERS = {
    "researcher": proposed(1),
    "engineer": proposed(2),
    "novelty_judge": json.dumps({"same": True, "as": "Parent", "why": "Alike."}),
    "analyst": json.dumps({"text": "It forgets.", "weakness": "parity"}),
    "summariser": json.dumps({"lines": ["Gates help recall."]}),
    "judge": json.dumps({"innovation": 5, "complexity": 6, "correctness": 7}),
}


class Narrow:
    """Answers by role; in one role, it refuses what is longer than it takes."""

    def __init__(self, role: str, most_characters: int) -> None:
        self._role, self._most_characters = role, most_characters
        self.sent: list[str] = []  # in that role

    def ask(
        self,
        spec: ModelSpec,
        system: str,  # noqa: ARG002
        prompt: str,
        *,
        role: str,
        max_output_tokens: int,  # noqa: ARG002
        experiment: int | None = None,  # noqa: ARG002
    ) -> Reply:
        if role == self._role:
            self.sent.append(prompt)
            if len(prompt) > self._most_characters:
                raise TooLong("the request is too long", self._most_characters)
        return Reply(ANSWERS[role], True, 1, 1, 0.0, 0.0, spec.name)


class Same:
    """An embedder to which all is alike."""

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        return np.ones((len(texts), 1), np.float32)


def _known(team: Team) -> object:
    tried = [(one.experiment, one.candidate.proposal) for one in KNOWN]
    return team.known(BRIEF, Proposal("Mine", "It forgets less.", program(1), "m"), tried)


ASK: dict[str, Callable[[Team], Any]] = {
    "researcher": lambda team: team.propose(BRIEF),
    "engineer": lambda team: team.propose(replace(BRIEF, attempt=2, failures=FAILURES)),
    "novelty_judge": _known,
    "analyst": lambda team: team.analyse([CHILD], KNOWN),
    "summariser": lambda team: team.propose(BRIEF),
    "judge": lambda team: team.judge([CHILD], KNOWN),
}
# What the shortest request says, and something that is in the longest one only.
LEFT_OUT = {
    "researcher": ("3 references, 1 lessons, 5 knowledge", "Gates help recall."),
    "engineer": ("1 earlier, operators", "Leaks:"),
    "novelty_judge": ("program, 4 nearest", "self.project"),
    "analyst": ("3 siblings, grandparent, parent", "Its parent: Parent"),
    "summariser": ("16 lessons", "Lesson number 15."),
    "judge": ("result, motivation", "Measured on 2 seeds"),
}


@functools.cache
def library() -> Library:
    return Library()


def team_of(models: Narrow, kept: Kept) -> Team:
    spec = parse_model("http://127.0.0.1:1/v1#all")
    return Team(models, [spec], SIZE, library=library(), embedder=Same(), notes=kept)


def asked(role: str, most_characters: int = 10**9) -> tuple[Any, Narrow, Kept]:
    """Returns what comes of it with a model that takes so much."""
    models, kept = Narrow(role, most_characters), Kept()
    return ASK[role](team_of(models, kept)), models, kept


@pytest.mark.parametrize("role", SHORTER)
def test_a_request_that_is_too_long_is_sent_shorter_and_the_answer_is_used(role: str) -> None:
    expected, wide, _ = asked(role)
    found, narrow, kept = asked(role, len(wide.sent[0]) - 1)
    longest, shorter = narrow.sent[:2]
    assert longest == wide.sent[0]
    assert "Left out" not in longest
    assert "Left out, since the " in shorter
    assert found == expected
    assert not kept.fallbacks()


@pytest.mark.parametrize("role", SHORTER)
def test_half_a_character_of_an_answer_is_neither_kept_nor_sent_back(
    role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ANSWERS, role, "No \ud800, \ud83d\ude80.")
    models = Narrow(role, 10**9)
    team = team_of(models, Kept())
    if role in ("researcher", "engineer"):
        with pytest.raises(NoProposal) as unread:
            ASK[role](team)
        assert unread.value.proposal.source == "No \ufffd, 🚀."
    else:
        ASK[role](team)
    assert "No \ufffd, 🚀." in models.sent[1]


@pytest.mark.parametrize("role", SHORTER)
def test_the_shortest_request_says_all_that_it_leaves_out(role: str) -> None:
    wide = asked(role)[1].sent[0]
    models = Narrow(role, 10)
    team = team_of(models, Kept())
    if role in ("researcher", "engineer"):
        with pytest.raises(TooLong):
            ASK[role](team)
    else:
        ASK[role](team)
    told, gone = LEFT_OUT[role]
    assert f"would be too long: {told}.)" in models.sent[-1]
    assert gone in wide
    assert gone not in models.sent[-1]


@pytest.mark.parametrize("role", ["novelty_judge", "analyst", "summariser", "judge"])
def test_a_request_that_stays_too_long_is_a_fallback_and_is_kept(role: str) -> None:
    found, narrow, kept = asked(role, 10)
    computed = {"analyst": analyse([CHILD], KNOWN), "summariser": asked("summariser")[0]}
    assert found == computed.get(role)
    assert [(one.role, one.reason) for one in kept.fallbacks()] == [
        (role, "the request is too long")
    ]
    sizes = [len(request) for request in narrow.sent]
    assert sizes == sorted(set(sizes), reverse=True)


def test_nothing_is_sent_twice_where_there_is_nothing_to_leave_out() -> None:
    models = Narrow("engineer", 10)
    with pytest.raises(TooLong):
        team_of(models, Kept()).propose(replace(BRIEF, attempt=1, failures=FAILURES[:1]))
    assert len(models.sent) == 2  # whole, and without the operators
