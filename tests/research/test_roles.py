"""Novelty judge, analyst, summariser and judge: what they may decide, and what stands without."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from move37.history import History
from move37.loop import Plan, discover
from move37.presets import SMOKE
from move37.records import Brief, Candidate, Lesson, Measured, Proposal, Record, Rejected
from move37.research.analyst import analyse
from move37.research.answers import Unusable, read_object
from move37.research.cassette import Player, Recorder
from move37.research.ledger import BudgetSpent
from move37.research.lessons import MOST_LESSONS
from move37.research.models import LanguageModels, ModelSpec, Reply, parse_model
from move37.research.novelty_judge import Ideas
from move37.research.roles import read_flag, read_grade, read_prose
from move37.research.team import Team
from tests.fakes import FakeLab, Memory, preset
from tests.research.play import SIZE, Kept, Play, proposed, told
from tests.research.server import Step, answer, refusal
from tests.search.builders import baselines, record, rejected

BASELINES = len(SMOKE.baselines)
Start = Callable[..., Play]


def said(**values: object) -> Step:
    return answer(json.dumps(values))


def brief(*failures: Record, lessons: Sequence[Lesson] = (), parent: Record | None = None) -> Brief:
    return Brief(7, len(failures), "dice", parent, (), tuple(lessons), failures)


def idea(name: str, motivation: str) -> Proposal:
    return Proposal(name, motivation, f"mix = {name!r}", "m")


# ---------------------------------------------------------------- reading

OBJECTS = {
    "bare": '{"same": true, "as": "Echo"}',
    "in prose": 'I compared them.\n\n{"same": true, "as": "Echo"}\n\nThat is all.',
    "fenced": '```json\n{"same": true, "as": "Echo"}\n```',
    "comments": '{\n  // the same recurrence\n  "same": true, # yes\n  "as": "Echo" /* it */\n}',
    "trailing comma": '{"same": true, "as": "Echo",}',
    "single quotes, as Python": "{'same': True, 'as': 'Echo'}",
    "no quotes around keys": '{same: true, as: "Echo"}',
    "keys in capitals": '{"Same": true, "As": "Echo"}',
    "after thoughts": '<think>{"same": false, "as": "x"}?</think>{"same": true, "as": "Echo"}',
    "the last of two": '{"same": false, "as": "x"} No, rather: {"same": true, "as": "Echo"}',
    "in another object": '{"result": {"same": true, "as": "Echo"}}',
    "in a list": '[{"same": true, "as": "Echo"}]',
    "as text in an object": '{"arguments": "{\\"same\\": true, \\"as\\": \\"Echo\\"}"}',
    "behind braces of a formula": 'S_{t} = a_{t} S_{t-1}.\n{"same": true, "as": "Echo"}',
    "behind a broken one": '{"same": tr\n\n{"same": true, "as": "Echo"}',
    "with one more key": '{"thought": "long", "same": true, "as": "Echo"}',
}


@pytest.mark.parametrize("text", OBJECTS.values(), ids=OBJECTS)
def test_an_object_is_found_and_read(text: str) -> None:
    found = read_object(text, ("same", "as"))
    assert read_flag("same", found["same"])
    assert found["as"] == "Echo"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Yes.",
        "{}",
        '{"same": true',
        '{"as": "Echo"}',
        '{"same": ' * 5_000,
        "[" * 5_000,
        '{"same":' + "[" * 5_000 + "]" * 5_000 + "}",
        "x" * 50_000,
        "<think>hm",
        "\ud800{",
        '{"same" true, "as": 1}',
    ],
    ids=range(12),
)
def test_what_holds_no_such_object_is_unusable_and_nothing_else(text: str) -> None:
    with pytest.raises(Unusable, match="answer with one JSON object"):
        read_object(text, ("same", "as"))


@pytest.mark.parametrize("value", [True, "true", "True", "yes", "1", " TRUE. "])
def test_a_flag_is_read(value: object) -> None:
    assert read_flag("same", value)


@pytest.mark.parametrize("value", ["", "maybe", None, [], "null", {"a": "b"}])
def test_what_is_no_flag_is_unusable(value: object) -> None:
    with pytest.raises(Unusable, match="true or false"):
        read_flag("same", value)


@pytest.mark.parametrize(
    ("value", "grade"), [("7", 7), ("7.5", 7.5), ("7/10", 7), (" 10 ", 10), (0, 0), ("8 / 10", 8)]
)
def test_a_grade_is_read(value: object, grade: float) -> None:
    assert read_grade("innovation", value) == grade


@pytest.mark.parametrize("value", ["11", "-1", "high", "", "nan", "inf", None, [], "1e1", "٣"])
def test_what_is_no_grade_is_unusable(value: object) -> None:
    with pytest.raises(Unusable, match="from 0 to 10"):
        read_grade("innovation", value)


@pytest.mark.parametrize("value", ["", " \n ", "...", {}, [[]], 3, "long " * 100])
def test_what_is_no_short_text_is_unusable(value: object) -> None:
    with pytest.raises(Unusable):
        read_prose("text", value, most=200)


# ---------------------------------------------------------------- novelty

TRIED = [
    (1, idea("Forgets", "It forgets by the content of the token.")),
    (2, idea("Corrects", "It corrects what the memory recalls wrongly.")),
    (3, idea("Counts", "It counts parity with negative eigenvalues.")),
]
MINE = idea("Mine", "It forgets by what the token contains.")


def novelty(play: Start, *steps: Step, **limits: float) -> Play:
    return play(*steps, roles=["novelty_judge"], **limits)


def test_a_known_idea_is_refused_and_the_known_one_named(play: Start) -> None:
    played = novelty(play, said(same=True, **{"as": "Corrects"}, why="Both correct."))
    found = played.team.known(brief(), MINE, TRIED)
    told_ = "the same idea as Corrects of experiment 2: Both correct."
    assert found == Rejected("novelty", told_)


def test_a_known_idea_without_a_name_is_that_of_the_nearest(play: Start) -> None:
    played = novelty(play, said(same="yes", **{"as": "Nobody"}))
    found = played.team.known(brief(), MINE, TRIED)
    assert found is not None
    assert found.evidence.startswith("the same idea as Forgets of experiment 1")


def test_a_new_idea_is_not_refused(play: Start) -> None:
    played = novelty(play, said(same=False, **{"as": None}, why="It is new."))
    assert played.team.known(brief(), MINE, TRIED) is None
    assert not played.kept.fallbacks()


def test_an_unreadable_answer_is_asked_for_once_more_with_the_reason(play: Start) -> None:
    played = novelty(play, answer("Hm."), said(same=True, **{"as": "Forgets"}, why="Alike."))
    assert played.team.known(brief(), MINE, TRIED) is not None
    assert "Expected an object, got none that can be read" in played.server.requests[1].body


def test_an_idea_is_new_if_two_answers_cannot_be_read(play: Start) -> None:
    played = novelty(play, said(same="perhaps"))
    assert played.team.known(brief(), MINE, TRIED) is None
    assert len(played.server.requests) == 2
    (kept,) = played.kept.fallbacks()
    assert (kept.role, kept.experiment) == ("novelty_judge", 7)
    assert "Expected true or false in 'same', got 'perhaps'" in kept.reason


def test_an_idea_is_new_if_the_model_refuses_for_good(play: Start) -> None:
    played = novelty(play, refusal(401, "no such key"))
    assert played.team.known(brief(), MINE, TRIED) is None
    assert "no such key" in played.kept.fallbacks()[0].reason


def test_a_model_that_never_answers_is_not_asked_for_ever(play: Start) -> None:
    played = novelty(play, refusal(401, "no such key"))
    for _ in range(5):
        assert played.team.known(brief(), MINE, TRIED) is None
    assert len(played.server.requests) == 3
    assert "not asked any more: 3 requests in a row failed" in played.kept.fallbacks()[-1].reason


def test_a_model_that_answers_again_is_asked_as_before(play: Start) -> None:
    down, new = refusal(401, "no such key"), said(same=False, **{"as": None}, why="It is new.")
    played = novelty(play, down, down, new, down, down, new)
    for _ in range(6):
        played.team.known(brief(), MINE, TRIED)
    assert len(played.server.requests) == 6


def test_attempts_of_the_same_experiment_are_not_compared_with(play: Start) -> None:
    played = novelty(play, said(same=True))
    assert played.team.known(brief(), MINE, [(7, TRIED[0][1])]) is None
    assert not played.server.requests


def test_nobody_is_asked_about_a_repair_of_the_same_idea(play: Start) -> None:
    played = novelty(play, said(same=True))
    first = rejected("Mine")
    repair = replace(MINE, motivation=first.candidate.proposal.motivation)
    assert played.team.known(brief(first), repair, TRIED) is None
    assert not played.server.requests


def test_a_repair_with_another_idea_is_asked_about(play: Start) -> None:
    played = novelty(play, said(same=True, **{"as": "Forgets"}, why="Alike."))
    assert played.team.known(brief(rejected("Mine")), MINE, TRIED) is not None


def test_nobody_is_asked_where_no_model_plays_the_role(play: Start) -> None:
    played = play(said(same=True))
    assert played.team.known(brief(), MINE, TRIED) is None
    assert not played.server.requests


class Letters:
    """An embedder that counts the letters a, b and c."""

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        counts = np.array([[text.count(letter) for letter in "abc"] for text in texts], float)
        with np.errstate(invalid="ignore"):
            return np.asarray(counts / np.linalg.norm(counts, axis=1, keepdims=True))


def test_the_nearest_motivations_come_first() -> None:
    tried = list(enumerate(idea(text, text) for text in ("ccc", "aab", "aaa", "bbb")))
    near = Ideas(Letters()).nearest(idea("x", "aaaa"), tried, 2)
    assert [one.proposal.name for one in near] == ["aaa", "aab"]


def test_motivations_that_are_as_near_come_in_the_order_of_their_ids() -> None:
    tried = list(enumerate(idea(name, "aa") for name in ("One", "Two", "Three")))
    near = Ideas(Letters()).nearest(idea("x", "a"), tried, 3)
    ids = [Candidate.of(one.proposal).id for one in near]
    assert ids == sorted(ids)


def test_a_motivation_without_a_direction_is_the_farthest() -> None:
    tried = [(0, idea("Empty", "...")), (1, idea("Other", "c"))]
    assert Ideas(Letters()).nearest(idea("x", "a"), tried, 1)[0].proposal.name == "Other"


def test_a_program_that_was_tried_twice_is_one_of_the_nearest_once() -> None:
    tried = [(3, idea("Twice", "a")), (5, idea("Twice", "a"))]
    assert [one.experiment for one in Ideas(Letters()).nearest(MINE, tried, 5)] == [3]


# ---------------------------------------------------------------- the analyst

HISTORY = baselines()
CHILD = replace(record("Child", loss_gain=0.2, experiment=5), parents=(HISTORY[1].candidate.id,))


def analyst(play: Start, *steps: Step, **limits: float) -> Play:
    return play(*steps, roles=["analyst"], **limits)


def test_a_lesson_has_the_computed_sentences_and_then_those_of_the_model(play: Start) -> None:
    played = analyst(play, said(text="Its gate\nis open. So it keeps.", weakness="parity fails"))
    lesson = played.team.analyse([CHILD], HISTORY)
    computed = analyse([CHILD], HISTORY)
    assert lesson.text == f"{computed.text} Its gate is open. So it keeps."


def test_a_lesson_has_the_weakness_that_the_model_names(play: Start) -> None:
    played = analyst(play, said(text="It keeps.", weakness="State tracking and parity fail."))
    assert played.team.analyse([CHILD], HISTORY).weakness == "State tracking and parity fail"


def test_what_improved_and_worsened_stays_computed(play: Start) -> None:
    played = analyst(
        play, said(text="All is better.", weakness="none", improved=["recall"], worsened=["recall"])
    )
    lesson, computed = played.team.analyse([CHILD], HISTORY), analyse([CHILD], HISTORY)
    assert computed.improved == ("language",)
    assert (lesson.improved, lesson.worsened) == (computed.improved, computed.worsened)


@pytest.mark.parametrize("weakness", ["two\nlines", "long " * 41, "", ["a", "list"], None, "..."])
def test_a_weakness_that_is_not_one_short_line_is_the_computed_one(
    play: Start, weakness: object
) -> None:
    played = analyst(play, said(text="It keeps.", weakness=weakness))
    lesson, computed = played.team.analyse([CHILD], HISTORY), analyse([CHILD], HISTORY)
    assert lesson.weakness == computed.weakness if weakness is not None else lesson.weakness
    assert lesson.text.endswith("It keeps.")


def test_a_lesson_is_the_computed_one_if_two_answers_cannot_be_read(play: Start) -> None:
    played = analyst(play, answer("The gate is open."))
    assert played.team.analyse([CHILD], HISTORY) == analyse([CHILD], HISTORY)
    assert [one.role for one in played.kept.fallbacks()] == ["analyst"]


def test_a_lesson_is_the_computed_one_if_the_budget_is_spent(play: Start) -> None:
    played = analyst(play, said(text="It keeps.", weakness="x"), max_tokens=10)
    assert played.team.analyse([CHILD], HISTORY) == analyse([CHILD], HISTORY)
    assert not played.kept.fallbacks()  # nobody was asked
    assert not played.server.requests


def test_a_lesson_is_the_computed_one_if_the_request_is_too_long(play: Start) -> None:
    long = refusal(400, "maximum context length is 10 tokens", "context_length_exceeded")
    played = analyst(play, long)
    assert played.team.analyse([CHILD], HISTORY) == analyse([CHILD], HISTORY)


@pytest.mark.parametrize(
    "outcome", [Rejected("novelty", "the same"), Rejected("answer", "prose only")]
)
def test_nobody_is_asked_about_what_was_never_examined(play: Start, outcome: Rejected) -> None:
    played = analyst(play, said(text="It keeps.", weakness="x"))
    played.team.analyse([replace(CHILD, outcome=outcome)], HISTORY)
    assert not played.server.requests


def test_nobody_is_asked_about_a_baseline(play: Start) -> None:
    played = analyst(play, said(text="It keeps.", weakness="x"))
    played.team.analyse(HISTORY[1:2], HISTORY[:1])
    assert not played.server.requests


def test_the_analyst_is_asked_about_what_a_check_refused(play: Start) -> None:
    played = analyst(play, said(text="The mean runs over all tokens.", weakness="x"))
    lesson = played.team.analyse([rejected("Leaks")], HISTORY)
    assert lesson.text.endswith("The mean runs over all tokens.")
    assert "an output saw its future" in played.server.requests[0].body


def test_the_analyst_sees_parent_three_siblings_and_grandparent(play: Start) -> None:
    grandparent, family = HISTORY[1].candidate.id, []
    parent = replace(record("Parent", experiment=3), parents=(grandparent,))
    for number, name in enumerate(("Ann", "Ben", "Cyd", "Dan"), start=4):
        sibling = record(name, experiment=number)
        family.append(replace(sibling, parents=(parent.candidate.id,)))
    child = replace(record("Child", experiment=8), parents=(parent.candidate.id,))
    played = analyst(play, said(text="It keeps.", weakness="x"))
    played.team.analyse([child], [*HISTORY, parent, *family])
    body = played.server.requests[0].body
    shown = ["Its parent: Parent", "sibling: Ben", "sibling: Cyd", "sibling: Dan"]
    assert all(text in body for text in [*shown, "grandparent: GatedDeltaNet"])
    assert "sibling: Ann" not in body  # the newest are shown


# ---------------------------------------------------------------- the summariser


def lessons(count: int) -> list[Lesson]:
    return [Lesson(i, f"id{i}", f"Lesson number {i}.", "recall is weak") for i in range(count)]


def test_many_lessons_become_the_lines_of_the_summariser(play: Start) -> None:
    played = play(said(lines=["- Gates help.", "Parity fails."]), told(1), roles=["summariser"])
    played.team.propose(brief(lessons=lessons(MOST_LESSONS + 1)))
    assert [call.role for call in played.calls] == ["summariser", "researcher"]
    body = played.server.requests[1].body
    assert "* Gates help." in body
    assert "Lesson number" not in body


def test_few_lessons_are_told_one_by_one(play: Start) -> None:
    played = play(told(1), roles=["summariser"])
    played.team.propose(brief(lessons=lessons(MOST_LESSONS)))
    assert [call.role for call in played.calls] == ["researcher"]
    assert played.server.requests[0].body.count("Lesson number") == MOST_LESSONS


@pytest.mark.parametrize("lines", [[], ["x"] * 7, "", {}, ["long " * 100]], ids=range(5))
def test_the_newest_lessons_stand_in_for_a_digest_that_cannot_be_read(
    play: Start, lines: object
) -> None:
    played = play(said(lines=lines), said(lines=lines), told(1), roles=["summariser"])
    played.team.propose(brief(lessons=lessons(MOST_LESSONS + 2)))
    body = played.server.requests[-1].body
    assert body.count("Lesson number") == MOST_LESSONS
    assert "Lesson number 9." in body
    assert [one.role for one in played.kept.fallbacks()] == ["summariser"]


def test_the_lesson_of_the_parent_is_told_however_old_it_is(play: Start) -> None:
    parent = record("Parent", experiment=0)
    old = Lesson(0, parent.candidate.id, "What the parent taught.", "recall is weak")
    played = play(told(1))
    played.team.propose(brief(parent=parent, lessons=[old, *lessons(12)]))
    assert "What the parent taught." in played.server.requests[0].body


# ---------------------------------------------------------------- the judge


def judged(play: Start, *steps: Step, **limits: float) -> Play:
    played = play(*steps, roles=["judge"], **limits)
    played.team.judge([CHILD], HISTORY)
    return played


def grades(innovation: object, complexity: object, correctness: object) -> Step:
    return said(innovation=innovation, complexity=complexity, correctness=correctness)


def test_a_judgement_is_the_mean_of_three_and_their_widest_gap(play: Start) -> None:
    played = judged(play, grades(4, 8, 10), grades("5", 8, 10), grades(9, 8, 7))
    (kept,) = played.kept.judgements()
    assert (kept.innovation, kept.complexity, kept.correctness) == (6, 8, 9)
    assert (kept.spread, kept.answers) == (5, 3)
    assert (kept.experiment, kept.candidate) == (5, CHILD.candidate.id)
    assert kept.model == played.spec.name


def test_each_part_of_the_material_comes_first_once(play: Start) -> None:
    requests = judged(play, grades(5, 5, 5)).server.requests
    firsts = {request.body.split("## Its ")[1].split("\\n")[0] for request in requests}
    assert firsts == {"motivation", "program", "result"}


def test_the_same_candidate_is_judged_on_the_same_material(play: Start) -> None:
    one, two = (judged(play, grades(5, 5, 5)).server.requests for _ in range(2))
    assert [request.body for request in one] == [request.body for request in two]


def test_an_answer_that_cannot_be_read_ends_the_judging_with_those_before(play: Start) -> None:
    played = judged(play, grades(4, 8, 10), grades(4, 8, 11), grades(4, 8, 11))
    assert played.kept.judgements()[0].answers == 1
    assert [one.role for one in played.kept.fallbacks()] == ["judge"]


def test_without_a_readable_answer_there_is_no_judgement(play: Start) -> None:
    assert not judged(play, answer("Splendid!")).kept.judgements()


def test_a_spent_budget_is_no_judgement(play: Start) -> None:
    assert not judged(play, grades(5, 5, 5), max_tokens=10).kept.judgements()


def test_nobody_is_asked_to_judge_what_was_not_measured(play: Start) -> None:
    played = play(grades(5, 5, 5), roles=["judge"])
    played.team.judge([rejected("Leaks")], HISTORY)
    played.team.judge(HISTORY[:1], [])
    assert not played.server.requests


# ---------------------------------------------------------------- a whole run


class Script:
    """Answers by role; the loop asks its analyst and its researchers at the same time."""

    def __init__(self, answers: Mapping[str, str]) -> None:
        self._answers = answers
        self.asked: list[tuple[str, int | None]] = []

    def ask(
        self,
        spec: ModelSpec,
        system: str,  # noqa: ARG002
        prompt: str,  # noqa: ARG002
        *,
        role: str,
        max_output_tokens: int,  # noqa: ARG002
        experiment: int | None = None,
    ) -> Reply:
        self.asked.append((role, experiment))
        text = self._answers.get(role, "")
        if role == "researcher":
            text = proposed(sum(one == (role, experiment) for one in self.asked) * 100 + SIZE.width)
            text = text.replace("* ", f"* {experiment} * ")
        return Reply(text, True, 1, 1, 0.0, 0.0, spec.name)


USEFUL = {
    "novelty_judge": '{"same": false}',
    "analyst": '{"text": "It scales.", "weakness": "recall of many key-value pairs is weak"}',
    "summariser": '{"lines": ["Scaling helps."]}',
    "judge": '{"innovation": 1, "complexity": 9, "correctness": 10}',
}
PLAN = Plan(preset(), BASELINES + 3, 0, workers=1)


def run(
    models: LanguageModels,
    *,
    store: Memory | None = None,
    kept: Kept | None = None,
    history: History | None = None,
) -> tuple[Memory, Kept, FakeLab]:
    store, kept, lab = store or Memory(), kept or Kept(), FakeLab()
    team = Team(models, [parse_model("http://127.0.0.1:1/v1#all")], SIZE, notes=kept)
    for _ in discover(PLAN, team, lab, store, advisers=team, history=history):
        pass
    return store, kept, lab


def test_a_run_has_lessons_and_judgements_of_all_roles() -> None:
    store, kept, _ = run(Script(USEFUL))
    assert [one.experiment for one in kept.judgements()] == [5, 6, 7]
    assert all(one.text.endswith("It scales.") for one in store.lessons()[BASELINES:])
    assert not kept.fallbacks()


@pytest.mark.parametrize(
    "nonsense", ["", "Yes!", "{", "null", '{"same": 7, "text": [], "lines": 0}']
)
def test_nonsense_in_every_other_role_changes_no_record(nonsense: str) -> None:
    store, kept, _ = run(Script(dict.fromkeys(USEFUL, nonsense)))
    plain = Memory()
    only = parse_model("http://127.0.0.1:1/v1#all,roles=researcher+engineer")
    for _ in discover(PLAN, Team(Script({}), [only], SIZE), FakeLab(), plain):
        pass
    assert all(a.same_as(b) for a, b in zip(store.records(), plain.records(), strict=True))
    assert store.lessons() == plain.lessons()
    assert {one.role for one in kept.fallbacks()} >= {"novelty_judge", "analyst", "judge"}


def test_a_known_idea_costs_an_attempt_and_no_examination() -> None:
    store, _, lab = run(Script(USEFUL | {"novelty_judge": '{"same": true, "why": "Alike."}'}))
    later = [one for one in store.records() if one.experiment >= BASELINES]
    assert len(later) == 3 * PLAN.preset.attempts
    assert all(isinstance(r.outcome, Rejected) and r.outcome.check == "novelty" for r in later)
    assert len(lab.assignments) == BASELINES


def test_a_run_of_all_roles_is_replayed_without_asking_anybody(tmp_path: Path) -> None:
    with Recorder(Script(USEFUL), tmp_path / "tape", str) as recorder:
        first, judged_, _ = run(recorder)
    second, again, _ = run(Player(tmp_path / "tape"))
    assert all(a.same_as(b) for a, b in zip(first.records(), second.records(), strict=True))
    assert first.lessons() == second.lessons()
    assert judged_.judgements() == again.judgements()


class Killed(Script):
    """Is killed when the judge is asked about an experiment."""

    def __init__(self, answers: Mapping[str, str], experiment: int) -> None:
        super().__init__(answers)
        self._last = experiment

    def ask(self, spec: ModelSpec, system: str, prompt: str, **options: Any) -> Reply:
        if (options["role"], options["experiment"]) == ("judge", self._last):
            raise KeyboardInterrupt
        return super().ask(spec, system, prompt, **options)


@pytest.mark.parametrize("last", [BASELINES, BASELINES + 2])
def test_a_judgement_that_a_kill_prevented_is_asked_for_when_the_run_goes_on(last: int) -> None:
    calm, kept, store = run(Script(USEFUL))[1], Kept(), Memory()
    with pytest.raises(KeyboardInterrupt):
        run(Killed(USEFUL, last), store=store, kept=kept)
    assert last == len(store.experiments) - 1
    assert last not in [one.experiment for one in kept.judgements()]
    run(Script(USEFUL), store=store, kept=kept)
    assert kept.judgements() == calm.judgements()


class Spent(Script):
    """Has no budget left for the judge."""

    def ask(self, spec: ModelSpec, system: str, prompt: str, **options: Any) -> Reply:
        if options["role"] == "judge":
            raise BudgetSpent("$0")
        return super().ask(spec, system, prompt, **options)


def test_judgements_that_a_spent_limit_prevented_are_asked_for_when_the_run_goes_on() -> None:
    calm, kept, store = run(Script(USEFUL))[1], Kept(), Memory()
    run(Spent(USEFUL), store=store, kept=kept)
    assert (kept.judgements(), kept.fallbacks()) == ([], [])
    run(Script(USEFUL), store=store, kept=kept)
    assert kept.judgements() == calm.judgements()


def test_a_late_judgement_counts_from_then_on() -> None:
    kept, store = Kept(), Memory()
    with pytest.raises(KeyboardInterrupt):
        run(Killed(USEFUL, BASELINES + 2), store=store, kept=kept)
    history = History(store.records(), store.lessons(), kept.judgements())
    run(Script(USEFUL), store=store, kept=kept, history=history)
    late = kept.judgements()[-1]
    assert late.experiment == BASELINES + 2
    assert history.judgement(late.candidate) == late


@pytest.mark.parametrize("grades_", [USEFUL["judge"], "Splendid!"], ids=["judged", "useless"])
def test_no_experiment_is_judged_again_when_the_run_goes_on(grades_: str) -> None:
    kept, store = Kept(), Memory()
    run(Script(USEFUL | {"judge": grades_}), store=store, kept=kept)
    again = Script(USEFUL)
    run(again, store=store, kept=kept)
    assert not again.asked


def test_a_run_without_advisers_asks_the_researcher_only() -> None:
    models, store = Script(USEFUL), Memory()
    team = Team(models, [parse_model("http://127.0.0.1:1/v1#all")], SIZE)
    for _ in discover(PLAN, team, FakeLab(), store):
        pass
    assert {role for role, _ in models.asked} == {"researcher"}
    assert isinstance(store.records()[-1].outcome, Measured)
