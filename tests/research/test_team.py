"""A team of language models proposes, repairs, fails and goes on; a scripted server plays it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from move37.loop import Plan, discover
from move37.presets import SMOKE
from move37.records import Brief, Candidate, InputError, Measured, Proposal, Record, Rejected
from move37.research.cassette import Player, Recorder
from move37.research.ledger import costs
from move37.research.models import ProviderFailed, parse_model
from move37.research.prompts import prompt, public
from move37.research.researcher import NoProposal
from move37.research.shortening import SHORTER
from move37.research.team import Team, unread
from tests.fakes import FakeLab, Memory, preset
from tests.research.play import SIZE, Play, program, told
from tests.research.server import answer, refusal
from tests.search.builders import record

BASELINES = len(SMOKE.baselines)


def brief(*failures: Record, parent: Record | None = None) -> Brief:
    return Brief(7, len(failures), "dice", parent, (), (), failures)


def refused(proposal: Proposal, check: str = "causality") -> Record:
    made = record(proposal.name)
    return Record(
        7, 0, Candidate.of(proposal), (), Rejected(check, "it hears the future"), made.provenance
    )


# ---------------------------------------------------------------- a whole run


def test_a_run_of_good_leaking_repeated_and_unreadable_answers_ends_with_what_was_due(
    play: Callable[..., Play],
) -> None:
    played = play(
        refusal(429, "slow down", retry_after="1"),
        told(1),  # experiment 5
        refusal(500, "oops"),
        told(2, leaks=True),  # experiment 6: refused, then mended
        told(3),
        told(1),  # experiment 7: known, then unreadable twice, then good
        answer("I am sorry, but I cannot."),
        answer("```python\ndef f(:\n```"),
        told(4),
        told(5),  # experiment 8
    )
    store = Memory()
    plan = Plan(preset(), BASELINES + 4, 0, workers=1)
    for _ in discover(plan, played.team, FakeLab(), store):
        pass
    ends = {
        number: [
            one.outcome.check if isinstance(one.outcome, Rejected) else type(one.outcome).__name__
            for one in store.records()
            if one.experiment == number
        ]
        for number in range(BASELINES, BASELINES + 4)
    }
    short = {number: list(dict.fromkeys(names)) for number, names in ends.items()}
    assert short == {
        5: ["Measured"],
        6: ["causality", "Measured"],
        7: ["novelty", "answer", "Measured"],
        8: ["Measured"],
    }
    rows = costs(played.calls)
    assert [(row.role, row.calls, row.failed) for row in rows] == [
        ("engineer", 1, 0),
        ("researcher", 9, 2),
    ]
    # 20 tokens in and 10 out for each answer, at 1 and 2 dollars per million.
    assert [row.dollars for row in rows] == pytest.approx([40e-6, 7 * 40e-6])
    assert {call.experiment for call in played.calls} == {5, 6, 7, 8}


def test_answers_without_a_program_are_found_in_the_records_by_the_role_that_gave_them(
    play: Callable[..., Play],
) -> None:
    prose = answer("It is a fine idea.")
    played = play(told(1), told(2, leaks=True), prose, prose, told(3), prose, prose, told(4))
    store = Memory()
    for _ in discover(Plan(preset(), BASELINES + 3, 0, workers=1), played.team, FakeLab(), store):
        pass
    found = [(one.role, one.model, one.experiment) for one in unread(store.records())]
    assert found == [
        ("engineer", played.spec.name, BASELINES + 1),
        ("researcher", played.spec.name, BASELINES + 2),
    ]


def test_a_run_stops_with_one_sentence_when_the_model_refuses_for_good(
    play: Callable[..., Play],
) -> None:
    played = play(told(1), refusal(401, "Incorrect API key provided"))
    store = Memory()
    plan = Plan(preset(), BASELINES + 4, 0, workers=1)
    with pytest.raises(ProviderFailed, match=r"refused.*Incorrect API key.*same command goes on"):
        for _ in discover(plan, played.team, FakeLab(), store):
            pass
    assert len(store.experiments) == BASELINES + 1


def test_a_run_that_was_recorded_is_replayed_without_asking_anybody(
    play: Callable[..., Play], tmp_path: Path
) -> None:
    played = play(told(1), told(2, leaks=True), told(3), told(4))
    plan = Plan(preset(), BASELINES + 3, 0, workers=1)
    first, second = Memory(), Memory()
    with Recorder(played.client, tmp_path / "tape", public) as recorder:
        for _ in discover(plan, Team(recorder, [played.spec], SIZE), FakeLab(), first):
            pass
    asked = len(played.server.requests)
    player = Team(Player(tmp_path / "tape"), [played.spec], SIZE)
    for _ in discover(plan, player, FakeLab(), second):
        pass
    assert all(a.same_as(b) for a, b in zip(first.records(), second.records(), strict=True))
    assert len(played.server.requests) == asked


# ---------------------------------------------------------------- one proposal


def test_a_proposal_has_name_motivation_program_and_its_model(play: Callable[..., Play]) -> None:
    played = play(told(3))
    proposal = played.team.propose(brief())
    version = prompt("researcher").version
    assert proposal == Proposal(
        "Mixer3", "It scales by 3.", program(3), played.spec.name, prompt_version=version
    )


def test_a_repair_without_a_motivation_keeps_that_of_what_it_mends(
    play: Callable[..., Play],
) -> None:
    played = play(answer(f"Sure! I removed the look-ahead.\n\n```python\n{program(2)}```\n"))
    leaking = Proposal("Leaks", "To scale.", program(1, leaks=True), "m", knowledge=("delta-net",))
    repair = played.team.propose(brief(refused(leaking)))
    assert (repair.motivation, repair.knowledge) == ("To scale.", ("delta-net",))


def test_a_repair_may_have_a_motivation_of_its_own(play: Callable[..., Play]) -> None:
    played = play(told(2))
    leaking = Proposal("Leaks", "To hear all.", program(1, leaks=True), "m")
    assert played.team.propose(brief(refused(leaking))).motivation == "It scales by 2."


def test_a_program_is_mended_further_after_a_repair_that_could_not_be_read(
    play: Callable[..., Play],
) -> None:
    played = play(told(2))
    leaking = Proposal("Leaks", "To hear all.", program(1, leaks=True), "m")
    unread = Proposal("Unread", "An answer.", "hm", "m")
    played.team.propose(brief(refused(leaking), refused(unread, "answer")))
    assert "Its motivation: To hear all." in played.server.requests[0].body


def test_what_was_refused_goes_to_the_engineer_with_the_evidence(
    play: Callable[..., Play],
) -> None:
    played = play(told(2))
    leaking = Proposal("Leaks", "To hear all.", program(1, leaks=True), "m")
    assert played.team.propose(brief(refused(leaking))).name == "Mixer2"
    request = played.server.requests[-1].body
    assert "it hears the future" in request
    assert "To hear all." in request
    assert played.calls[-1].role == "engineer"


def test_a_repeated_program_goes_back_to_the_researcher(play: Callable[..., Play]) -> None:
    played = play(told(2))
    known = Proposal("Known", "Why not.", program(1), "m")
    played.team.propose(brief(refused(known, "novelty")))
    assert played.calls[-1].role == "researcher"
    assert "Known" in played.server.requests[-1].body


def test_an_unusable_answer_is_asked_for_once_more_with_the_reason(
    play: Callable[..., Play],
) -> None:
    played = play(answer("Only prose."), told(4))
    assert played.team.propose(brief()).name == "Mixer4"
    assert "Your answer could not be used" in played.server.requests[-1].body
    assert "Only prose." in played.server.requests[-1].body


def test_two_unusable_answers_are_no_proposal_and_say_why(play: Callable[..., Play]) -> None:
    played = play(answer("Only prose."))
    with pytest.raises(NoProposal) as failure:
        played.team.propose(brief())
    assert failure.value.outcome.check == "answer"
    assert failure.value.proposal.source == "Only prose."
    assert len(played.server.requests) == 2


def test_the_unchanged_parent_is_no_proposal(play: Callable[..., Play]) -> None:
    parent = record("Mixer1")
    proposal = Proposal("Mixer1", "It scales.", program(1), "m")
    same = Record(3, 0, Candidate.of(proposal), (), parent.outcome, parent.provenance)
    played = play(told(1))
    with pytest.raises(NoProposal):
        played.team.propose(brief(parent=same))


def test_a_brief_that_is_too_long_is_shortened_and_says_what_it_left_out(
    play: Callable[..., Play],
) -> None:
    too_long = refusal(400, "maximum context length is 10 tokens", "context_length_exceeded")
    played = play(too_long, too_long, told(1))
    references = tuple(record(name) for name in ("Echo", "Foxtrot", "Golf"))
    assert all(isinstance(one.outcome, Measured) for one in references)
    played.team.propose(Brief(7, 0, "dice", None, references, (), ()))
    sizes = [len(request.body) for request in played.server.requests]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == len(sizes)
    assert "Left out, since the brief would be too long: 4 knowledge, programs of references" in (
        played.server.requests[-1].body
    )
    assert len(sizes) <= len(SHORTER["researcher"]) + 1


def test_a_team_without_a_researcher_is_refused(play: Callable[..., Play]) -> None:
    played = play(told(1))
    only = parse_model(f"{played.server.url}#scripted,roles=engineer")
    with pytest.raises(InputError, match="no model plays 'researcher'"):
        Team(played.client, [only], SIZE)


# ---------------------------------------------------------------- prompts


def test_a_prompt_holds_no_path_of_this_machine(play: Callable[..., Play]) -> None:
    played = play(told(2))
    proposal = Proposal("Reads", "It reads /home/me/secret.txt.", program(1), "m")
    refusal_ = "PermissionError: '/opt/lab/move37/tasks/recall.py'"
    made = record("Reads")
    failed = Record(
        7, 0, Candidate.of(proposal), (), Rejected("causality", refusal_), made.provenance
    )
    played.team.propose(brief(failed))
    request = played.server.requests[-1].body
    assert "/home/me" not in request
    assert "/opt/lab" not in request


@pytest.mark.parametrize(
    "text", ["a / b", "1/2", "S diag(a_t)/K", "https://arxiv.org/abs/2406.06484", "and/or", "//"]
)
def test_what_is_no_path_stays(text: str) -> None:
    assert public(text) == text
