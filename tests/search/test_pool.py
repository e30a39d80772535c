"""Who becomes a parent, who a reference, and what a brief may know."""

import copy
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from move37.history import History
from move37.records import Brief, Measured, Record
from move37.search.pool import LESSONS_PER_BRIEF, Selection, draw_brief, ranked, visible
from tests.search.builders import (
    BASELINES,
    baselines,
    crashed,
    lesson,
    record,
    rejected,
)

WARM = Selection(cold_start=0, batch=1, lag=1)
LAPTOP = Selection(cold_start=4, batch=3, lag=5)


def history(experiments: int) -> list[Record]:
    """The baselines, then candidates in random order of fitness; every fifth one is refused."""
    rng = random.Random(0)
    gains = [0.09 - 0.002 * i for i in range(experiments)]
    rng.shuffle(gains)
    records = baselines()
    for number, gain in enumerate(gains, start=BASELINES):
        failed: Callable[..., Record] = rejected if number % 2 else crashed
        records.append(
            failed(f"Echo {number}", experiment=number)
            if number % 5 == 0
            else record(f"Echo {number}", experiment=number, loss_gain=gain, benchmark_gain=gain)
        )
    return records


def brief(records: Sequence[Record], selection: Selection = WARM, **changes: Any) -> Brief:
    arguments: dict[str, Any] = {
        "experiment": 100,
        "attempt": 0,
        "seed": 0,
        "baselines": BASELINES,
        "lessons": [lesson(one) for one in records],
    }
    arguments.update(changes)
    known = History(records, arguments.pop("lessons"))
    return draw_brief(selection, known, **arguments)


def brief_in_a_run(selection: Selection, records: list[Record], experiment: int) -> Brief:
    """The brief that the loop draws: from the visible experiments only."""
    known = [r for r in records if r.experiment < visible(selection, experiment, BASELINES)]
    return brief(known, selection, experiment=experiment)


def named(records: Sequence[Record]) -> list[str]:
    return [one.candidate.proposal.name for one in records]


HISTORY = history(70)  # more than the pool holds
BRIEFS = [brief(HISTORY, experiment=experiment) for experiment in range(100, 200)]


# ---------------------------------------------------------------- ranks


def test_ranks_go_from_the_fittest_down() -> None:
    gains = [0.01, 0.05, -0.03, 0.02]
    records = [record(str(g), loss_gain=g, benchmark_gain=g) for g in gains]
    assert named(ranked([*baselines(), *records])) == [
        "0.05",
        "0.02",
        "0.01",
        "DeltaNet",
        "GatedDeltaNet",
        "-0.03",
    ]


def test_of_equals_the_earlier_ranks_first() -> None:
    records = [record("Later", experiment=9), record("Earlier", experiment=8)]
    order = named(ranked([*baselines(), *records]))
    assert order.index("Earlier") < order.index("Later")


def test_a_quadratic_mixer_has_no_children() -> None:
    """Softmax attention is the fittest by far; its failed check keeps it out of the pool."""
    assert "SoftmaxAttention" not in named(ranked(HISTORY))
    for drawn in BRIEFS:
        assert "SoftmaxAttention" not in named([*parents(drawn), *drawn.references])


def test_failures_have_no_children() -> None:
    records = [*baselines(), rejected("Echo"), crashed("Delay")]
    assert named(ranked(records)) == ["DeltaNet", "GatedDeltaNet"]


def test_a_candidate_that_was_measured_at_last_stands_by_a_measured_record() -> None:
    """What is handed on as a parent has results, though the program crashed at first."""
    records = [crashed("Echo", experiment=8), record("Echo", experiment=9)]
    ranks = ranked([*baselines(), *records])
    assert [type(one.outcome) for one in ranks] == [Measured] * 3


def test_a_candidate_of_several_records_stands_once_by_its_first() -> None:
    records = [record("Echo", step=0), record("Echo", step=1, seeds=(2, 3))]
    assert [one.step for one in ranked([*baselines(), *records]) if one in records] == [0]


# ---------------------------------------------------------------- parent and references


def parents(drawn: Brief) -> list[Record]:
    return [drawn.parent] if drawn.parent else []


def test_the_parent_is_one_of_the_ten_fittest() -> None:
    assert {named(parents(drawn))[0] for drawn in BRIEFS} == set(named(ranked(HISTORY)[:10]))


def test_references_are_of_the_ranks_from_eleven_to_fifty() -> None:
    drawn = {name for one in BRIEFS for name in named(one.references)}
    assert drawn == set(named(ranked(HISTORY)[10:50]))


def test_there_are_four_different_references() -> None:
    assert all(len(set(named(drawn.references))) == 4 for drawn in BRIEFS)


@pytest.mark.parametrize("candidates", range(16))
def test_references_never_contain_the_parent(candidates: int) -> None:
    """Nor in a pool too young to have ranks 11 to 50."""
    records = history(candidates)
    for experiment in range(100, 130):
        drawn = brief(records, experiment=experiment)
        assert drawn.parent is not None
        assert drawn.parent not in drawn.references


def test_references_of_a_young_pool_are_the_rest_of_it() -> None:
    drawn = brief(baselines())
    assert sorted(named([*parents(drawn), *drawn.references])) == ["DeltaNet", "GatedDeltaNet"]


def test_there_is_no_family_during_the_cold_start() -> None:
    selection = replace(WARM, cold_start=7)
    for experiment in range(BASELINES, BASELINES + 7):
        drawn = brief(HISTORY, selection, experiment=experiment)
        assert drawn.parent is None
        assert drawn.references == ()


def test_there_is_a_parent_from_the_end_of_the_cold_start_on() -> None:
    drawn = brief(HISTORY, replace(WARM, cold_start=7), experiment=BASELINES + 7)
    assert drawn.parent is not None


# ---------------------------------------------------------------- a pure function


def test_same_inputs_same_brief() -> None:
    random.seed(1)
    first = brief(HISTORY)
    random.seed(2)
    assert brief(copy.deepcopy(HISTORY)) == first


def test_drawing_leaves_the_global_dice_alone() -> None:
    before = random.getstate()
    brief(HISTORY)
    assert random.getstate() == before


def test_drawing_leaves_the_records_alone() -> None:
    records, lessons = list(HISTORY), [lesson(one) for one in HISTORY]
    brief(records, lessons=lessons)
    assert records == HISTORY
    assert lessons == [lesson(one) for one in HISTORY]


@pytest.mark.parametrize("change", [{"seed": 1}, {"experiment": 99}])
def test_other_dice_draw_other_families(change: dict[str, Any]) -> None:
    assert brief(HISTORY, **change).references != brief(HISTORY).references


def test_a_repair_has_the_family_of_what_it_repairs() -> None:
    first, repair = brief(HISTORY, attempt=0), brief(HISTORY, attempt=1)
    assert (repair.parent, repair.references) == (first.parent, first.references)


def test_every_attempt_has_dice_of_its_own() -> None:
    drawn = [
        brief(HISTORY, seed=seed, experiment=experiment, attempt=attempt).dice
        for seed in (0, 1)
        for experiment in (100, 101)
        for attempt in (0, 1)
    ]
    assert len(set(drawn)) == len(drawn)


def test_earlier_failures_of_the_experiment_are_told() -> None:
    failures = (crashed("Echo"), rejected("Delay"))
    assert brief(HISTORY, failures=failures).failures == failures


# ---------------------------------------------------------------- lessons


def test_a_brief_holds_few_lessons() -> None:
    assert all(len(drawn.lessons) <= LESSONS_PER_BRIEF for drawn in BRIEFS)


def test_lessons_come_newest_last() -> None:
    for drawn in BRIEFS:
        experiments = [one.experiment for one in drawn.lessons]
        assert experiments == sorted(experiments)


def test_the_lesson_of_the_parent_is_always_told() -> None:
    for drawn in BRIEFS:
        assert drawn.parent is not None
        assert drawn.parent.candidate.id in {one.candidate for one in drawn.lessons}


def test_each_lesson_says_whose_it_is() -> None:
    names = {one.candidate.id: one.candidate.proposal.name for one in HISTORY}
    for drawn in BRIEFS:
        assert all(one.text.startswith(names[one.candidate]) for one in drawn.lessons)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("Echo", "Echo was not measured.", "Echo was not measured."),
        ("Delta", "DeltaNet is still better.", "Delta: DeltaNet is still better."),
        ("A", "Against DeltaNet better.", "A: Against DeltaNet better."),
    ],
)
def test_a_lesson_is_given_the_name_that_it_lacks(name: str, text: str, told: str) -> None:
    mine = record(name, experiment=10)
    drawn = brief([*baselines(), mine], lessons=[replace(lesson(mine), text=text)])
    assert [one.text for one in drawn.lessons] == [told]


def test_parent_and_references_are_told_with_all_their_seeds() -> None:
    first = record("Echo", loss_gain=0.09, seeds=(0,))
    history = [
        *baselines(),
        first,
        replace(first, step=1, outcome=record("Echo", seeds=(1,)).outcome),
    ]
    for told in (lambda drawn: parents(drawn), lambda drawn: drawn.references):
        drawn = (told(brief(history, experiment=experiment)) for experiment in range(100, 120))
        (echo, *_) = (one for each in drawn for one in each if named([one]) == ["Echo"])
        assert isinstance(echo.outcome, Measured)
        assert {m.seed for m in echo.outcome.measurements} == {0, 1}


def test_lessons_beyond_the_family_are_the_newest() -> None:
    drawn = brief(HISTORY)
    family = {one.candidate.id for one in (*parents(drawn), *drawn.references)}
    others = [one.experiment for one in drawn.lessons if one.candidate not in family]
    strangers = [one.experiment for one in HISTORY if one.candidate.id not in family]
    assert others == strangers[len(strangers) - len(others) :]


# ---------------------------------------------------------------- what is visible

selections = st.builds(
    Selection,
    cold_start=st.integers(0, 20),
    batch=st.integers(1, 12),
    lag=st.integers(1, 12),
)
property_test = settings(max_examples=100, deadline=None, derandomize=True, database=None)


@property_test
@given(selection=selections, experiment=st.integers(0, 200), baselines=st.integers(0, 8))
def test_visible_never_exceeds_what_the_lag_leaves(
    selection: Selection, experiment: int, baselines: int
) -> None:
    """Apart from the baselines, which are always there."""
    known = visible(selection, experiment, baselines)
    assert known == baselines or known <= experiment - selection.lag + 1


@property_test
@given(selection=selections, experiment=st.integers(0, 200), baselines=st.integers(0, 8))
def test_visible_grows_by_whole_batches(
    selection: Selection, experiment: int, baselines: int
) -> None:
    known = visible(selection, experiment, baselines)
    grown = visible(selection, experiment + 1, baselines) - known
    assert (known - baselines) % selection.batch == 0
    assert grown in (0, selection.batch)


@property_test
@given(selection=selections, experiment=st.integers(0, 200), baselines=st.integers(0, 8))
def test_visible_is_at_most_a_batch_behind_the_lag(
    selection: Selection, experiment: int, baselines: int
) -> None:
    known = visible(selection, experiment, baselines)
    assert known > experiment - selection.lag + 1 - selection.batch


@pytest.mark.parametrize(
    ("experiment", "known"), [(3, 3), (9, 3), (10, 6), (12, 6), (13, 9), (16, 12)]
)
def test_visible_by_hand(experiment: int, known: int) -> None:
    """Three baselines, a lag of five, batches of three: experiment 10 knows those up to 5."""
    assert visible(LAPTOP, experiment, BASELINES) == known


def test_a_brief_names_visible_experiments_only() -> None:
    for experiment in range(BASELINES, BASELINES + 70, 3):
        drawn = brief_in_a_run(LAPTOP, HISTORY, experiment)
        told = [one.experiment for one in (*parents(drawn), *drawn.references)]
        told += [one.experiment for one in drawn.lessons]
        assert max(told) < visible(LAPTOP, experiment, BASELINES)


def test_a_brief_does_not_depend_on_what_the_experiments_within_the_lag_found() -> None:
    """So it does not depend on how many workers there are, nor on which of them is fast."""
    for experiment in (20, 33, 60):
        within = experiment - LAPTOP.lag + 1
        others = [
            one
            if one.experiment < within
            else record(f"Miracle {one.experiment}", experiment=one.experiment, loss_gain=0.9)
            for one in HISTORY
        ]
        unfinished = [one for one in HISTORY if one.experiment < within]
        drawn = brief_in_a_run(LAPTOP, HISTORY, experiment)
        assert brief_in_a_run(LAPTOP, others, experiment) == drawn
        assert brief_in_a_run(LAPTOP, unfinished, experiment) == drawn
