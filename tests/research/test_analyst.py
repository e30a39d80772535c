"""The analyst says what can be told, and no more."""

from dataclasses import replace

from move37.records import Crashed, Lesson, Record, Rejected
from move37.research.analyst import NO_WEAKNESS, WEAKNESS, analyse
from tests.search.builders import baselines, record


def lesson_of(mine: Record, history: list[Record] | None = None) -> Lesson:
    return analyse([mine], baselines() if history is None else history)


def reference() -> Record:
    return next(r for r in baselines() if r.candidate.proposal.name == "DeltaNet")


def test_what_is_clearly_better_is_called_improved() -> None:
    lesson = lesson_of(record("Echo", loss_gain=0.3, benchmark_gain=0.5))
    assert set(lesson.improved) == {"language", "recall", "state tracking"}
    assert lesson.worsened == ()
    assert lesson.text.startswith("Better than DeltaNet on")


def test_what_is_clearly_worse_is_called_worsened_and_names_the_weakness() -> None:
    lesson = lesson_of(record("Echo", loss_gain=-0.5))
    assert lesson.worsened == ("language",)
    assert lesson.weakness == WEAKNESS["language"]


def test_what_lies_within_the_noise_is_called_neither() -> None:
    lesson = lesson_of(record("Echo", loss_gain=0.001))
    assert lesson.improved == lesson.worsened == ()
    assert lesson.text.startswith("Not to be told apart from DeltaNet")


def test_what_is_nowhere_behind_the_best_baseline_is_asked_to_cost_less() -> None:
    lesson = lesson_of(record("Echo", loss_gain=0.5, benchmark_gain=0.9))  # nobody is better
    assert lesson.weakness == NO_WEAKNESS
    assert "On no task clearly behind the best baseline" in lesson.text


def test_a_child_is_compared_with_its_parent() -> None:
    parent = record("Parent", loss_gain=0.4, experiment=5)
    child = replace(record("Child", loss_gain=0.1), parents=(parent.candidate.id,))
    lesson = lesson_of(child, [*baselines(), parent])
    assert lesson.worsened == ("language",)
    assert "its parent Parent" in lesson.text
    assert "Against DeltaNet: language better" in lesson.text


def test_a_stopped_run_is_compared_at_the_same_tokens() -> None:
    lesson = lesson_of(record("Echo", loss_gain=0.3, benchmark_gain=0.5, stopped=True))
    assert lesson.worsened == ()
    assert "language" in lesson.improved


def test_one_seed_is_called_one_seed() -> None:
    assert "One seed only" in lesson_of(record("Echo", seeds=(0,))).text
    assert "One seed only" not in lesson_of(record("Echo", seeds=(0, 1))).text


def test_a_refusal_is_told_with_its_evidence() -> None:
    mine = replace(record("Echo"), outcome=Rejected("finite", "output is not finite"))
    lesson = lesson_of(mine)
    assert "refused by the check 'finite': output is not finite" in lesson.text
    assert "training is unstable" in lesson.weakness
    assert analyse([mine], baselines()) == lesson


def test_a_crash_is_told_in_its_first_line() -> None:
    mine = replace(record("Echo"), outcome=Crashed("load", "ValueError: no\nline 3: raise"))
    assert "crashed at 'load': ValueError: no." in lesson_of(mine).text


def test_the_first_baseline_has_nothing_to_be_compared_with() -> None:
    assert lesson_of(reference(), []).improved == ()
