"""What is gathered experiment by experiment is what all records say. Slow twins: the functions
that go through all of them.
"""

import itertools
import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from move37.history import History
from move37.records import Candidate, InputError, Judgement, Proposal, Record
from move37.research.analyst import analyse
from move37.research.novelty import repeats
from move37.research.novelty_judge import Ideas
from move37.research.syntax import fingerprint
from move37.results import find, results
from move37.search.board import Board, _greatest
from move37.search.fitness import Form, Scale, Unscaled
from move37.search.leaderboard import leaderboard, row_of
from move37.search.pool import ranked
from tests.search.builders import baselines, crashed, lesson, record, rejected


def a_run(seed: int, count: int = 60) -> list[Record]:
    """Baselines, each an experiment, and proposals of every kind that there is."""
    dice = random.Random(seed)
    made = [replace(one, experiment=number) for number, one in enumerate(baselines())]
    for number in range(len(made), count):
        name = f"Echo {number}"
        kind = dice.random()
        # Now and then the same program as before.
        program = f"mix = {number if kind < 0.9 else number - 1}"
        if kind < 0.2:
            made.append((rejected if number % 2 else crashed)(name, experiment=number))
            continue
        gain = dice.gauss(0, 0.05)
        one = record(
            name,
            experiment=number,
            program=program,
            loss_gain=gain,
            benchmark_gain=dice.gauss(0, 0.2),
            seeds=[(0,), (0, 1), (1, 2, 3)][number % 3] if kind < 0.8 else (98, 99),
            stopped=kind > 0.7,
            flops=dice.choice([1e6, 3e6]),
        )
        parents = (made[number - 1].candidate.id,) if number % 4 else ()
        made.append(replace(one, parents=parents))
        if number % 7 == 0:  # a further seed that ends badly
            made.append(replace(made[-1], step=1, outcome=crashed(name).outcome))
    return made


def prefixes(records: Sequence[Record]) -> list[int]:
    return [*range(2, 12), records[-1].experiment // 2, records[-1].experiment + 1]


def slowly(records: Sequence[Record], form: Form) -> list[str]:
    """The fittest first, from all records."""
    found = results(records)
    scale = Scale.of(found)
    fits = [(scale.fitness(r, form).rank_key, -r.experiment, r) for r in found if scale.compares(r)]
    return [r.candidate.id for *_, r in sorted(fits, key=lambda fit: fit[:2], reverse=True)]


@pytest.mark.parametrize("seed", range(5))
def test_a_view_holds_what_was_there_before_its_border(seed: int) -> None:
    records = a_run(seed)
    whole = History(records)
    for border in prefixes(records):
        before = [one for one in records if one.experiment < border]
        view = whole.until(border)
        assert list(view) == before
        assert view[:] == before
        assert view[-1] == before[-1]
        assert view.experiments == len({one.experiment for one in before})
        assert view.experiment(border) == []
        for one in records:
            mine = [other for other in before if other.candidate.id == one.candidate.id]
            assert view.of_candidate(one.candidate.id) == mine


@pytest.mark.parametrize("seed", range(5))
def test_a_view_has_the_results_of_what_was_there(seed: int) -> None:
    records = a_run(seed)
    whole = History(records)
    for border in prefixes(records):
        before = {r.candidate.id: r for r in results(records[:]) if r.experiment < border}
        told = {r.candidate.id: whole.until(border).result(r.candidate.id) for r in records}
        assert {one: result for one, result in told.items() if result} == before


@pytest.mark.parametrize("form", ["noise", "paper"])
@pytest.mark.parametrize("seed", range(5))
def test_a_board_has_the_scale_and_the_ranks_that_all_records_give(seed: int, form: Form) -> None:
    records = a_run(seed)
    whole = History(records)
    for border in prefixes(records)[1:]:
        before = [one for one in records if one.experiment < border]
        slow, fast = Scale.of(results(before)), Board(whole.until(border)).scale()
        assert fast.tried == slow.tried
        assert fast.best == pytest.approx(slow.best)
        for axis, noise in slow.noise.items():
            assert fast.noise[axis] == pytest.approx(noise, rel=1e-9)
        told = [row.id for row in leaderboard(whole.until(border), form)]
        assert told == slowly(before, form)
        assert [row.id for row in leaderboard(before, form, most=3)] == told[:3]


@pytest.mark.parametrize("seed", range(20))
def test_the_greatest_are_those_of_a_whole_sort_and_those_equal_to_the_last(seed: int) -> None:
    dice = np.random.default_rng(seed)
    keys = [dice.integers(0, 3, 40).astype(float) for _ in range(3)]
    most, places = int(dice.integers(1, 45)), np.arange(40)
    rows = [tuple(key[place] for key in keys) for place in places]
    last = sorted(rows, reverse=True)[:most][-1]
    kept = _greatest(places, most, keys)
    assert sorted(kept) == [place for place in places if rows[place] >= last]


@pytest.mark.parametrize("seed", range(3))
def test_a_board_with_one_more_result_has_the_scale_of_all(seed: int) -> None:
    records = a_run(seed)
    number = records[-1].experiment
    more = [replace(record("More", program="more", experiment=number + 1), step=0)]
    slow = Scale.of(results([*records, *more]))
    fast = Board(records).scale(results(more))
    assert fast.tried == slow.tried
    for axis, noise in slow.noise.items():
        assert fast.noise[axis] == pytest.approx(noise, rel=1e-9)


def test_a_board_without_the_reference_has_no_scale() -> None:
    records = a_run(0)
    with pytest.raises(Unscaled):
        Board(History(records).until(0)).scale()


def test_the_fittest_that_may_have_children_failed_no_check() -> None:
    records = a_run(1)
    found = {r.candidate.id: r for r in results(records)}
    told = [one.candidate.id for one in ranked(records)]
    fit = [one for one in slowly(records, "noise") if not found[one].failed]
    assert told == fit
    assert [one.candidate.id for one in ranked(records, most=4)] == fit[:4]


def test_the_row_of_a_candidate_is_that_of_the_leaderboard() -> None:
    history = History(a_run(2))
    rows = {row.id: row for row in leaderboard(history)}
    for one in history:
        assert row_of(history, one.candidate.id) == rows.get(one.candidate.id)


def test_what_is_added_later_changes_no_view() -> None:
    records = a_run(3)
    whole = History(records[:30])
    view = whole.until(20)
    before = list(view), leaderboard(view), analyse(records[30:31], view)
    for one in records[30:]:
        if one.step == 0:
            whole.add([one])
    assert (list(view), leaderboard(view), analyse(records[30:31], view)) == before
    assert whole.experiments == len({one.experiment for one in records})


@pytest.mark.parametrize("seed", range(3))
def test_a_lesson_is_the_same_from_a_view_and_from_a_list(seed: int) -> None:
    records = a_run(seed)
    whole = History(records)
    for border in prefixes(records)[2:-1]:
        mine = [one for one in records if one.experiment == border]
        before = [one for one in records if one.experiment < border]
        assert analyse(mine, whole.until(border)) == analyse(mine, before)


def test_lessons_are_found_by_candidate_and_by_age() -> None:
    records = a_run(0)
    lessons = [lesson(one) for one in records if one.step == 0]
    view = History(records, lessons).until(30)
    before = [one for one in lessons if one.experiment < 30]
    assert list(view.lessons) == before
    family = [records[4].candidate.id, records[40].candidate.id]
    assert view.lessons_of(family) == [one for one in before if one.candidate in family]
    others = [one for one in before[::-1] if one.candidate not in family]
    assert view.newest_lessons(5, but_of=family) == others[:5]


def test_children_are_told_the_oldest_first() -> None:
    records = a_run(0)
    view = History(records).until(50)
    for parent in records:
        born = [one for one in records if one.parents[:1] == (parent.candidate.id,)]
        told = dict.fromkeys(one.candidate.id for one in born if one.experiment < 50)
        assert view.children(parent.candidate.id) == list(told)


def proposal(number: int, *, parts: tuple[str, ...] = ()) -> Proposal:
    return Proposal(f"P{number}", f"Why {number}.", f"mix = {number}", "told", parts)


def test_a_program_is_known_from_the_experiment_after_it_on() -> None:
    whole = History(a_run(0))
    one = next(r for r in whole if r.experiment == 20)
    again = replace(one.candidate.proposal, source=one.candidate.proposal.source + "  # again")
    assert fingerprint(again.source) == fingerprint(one.candidate.proposal.source)
    known = repeats(again, (), whole.until(21))
    assert known is not None
    first = next(
        r for r in whole if fingerprint(r.candidate.proposal.source) == fingerprint(again.source)
    )
    assert f"of experiment {first.experiment}" in known.evidence
    assert repeats(again, (), whole.until(first.experiment)) is None


def marked(number: int, mark: str) -> History:
    kept = record(f"Kept {number}", experiment=0)
    candidate = Candidate.of(proposal(number), mark)
    return History([replace(kept, candidate=candidate)])


def test_a_fingerprint_that_was_kept_is_not_taken_again() -> None:
    other = proposal(2)
    assert repeats(other, (), marked(1, fingerprint(other.source))) is not None


def test_a_fingerprint_that_another_python_took_is_taken_again() -> None:
    mark = f"cpython-399/1:{fingerprint(proposal(1).source).partition(':')[2]}"
    assert repeats(proposal(1), (), marked(1, mark)) is not None
    assert repeats(proposal(2), (), marked(1, mark)) is None


class Letters:
    """Embeds a text by how often it holds each letter, and counts the texts."""

    def __init__(self) -> None:
        self.texts = 0

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        self.texts += len(texts)
        counts = np.array([[text.count(chr(97 + i)) + 0.1 for i in range(26)] for text in texts])
        return np.asarray(counts / np.linalg.norm(counts, axis=1, keepdims=True), np.float32)


def test_the_nearest_ideas_of_a_view_are_those_of_its_records() -> None:
    dice = random.Random(0)
    records = []
    for one in a_run(0, 40):
        words = "".join(dice.choices("abcdef", k=9))
        mine = replace(one.candidate.proposal, motivation=words)
        records.append(replace(one, candidate=replace(one.candidate, proposal=mine)))
    whole, embedder = History(records), Letters()
    ideas = Ideas(embedder)
    for border in (40, 7, 25, 40):
        tried = [(r.experiment, r.candidate.proposal) for r in records if r.experiment < border]
        slow = Ideas(Letters()).nearest(proposal(99), tried, 5)
        assert ideas.nearest(proposal(99), (), 5, whole.until(border)) == slow
    programs = len({one.candidate.id for one in records})
    assert embedder.texts == programs + 4  # each motivation once, and the new one each time


def judged(records: Sequence[Record]) -> list[Judgement]:
    dice = random.Random(1)
    return [
        Judgement(r.experiment, r.candidate.id, "model", 3, *(dice.uniform(0, 10),) * 3, 0.5)
        for r in records
        if not r.candidate.proposal.is_baseline and dice.random() < 0.8
    ]


@pytest.mark.parametrize("form", ["noise", "paper"])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_judge_has_its_share_of_the_judgement_and_no_more(form: Form, share: float) -> None:
    records = a_run(4)
    history = History(records, judgements=judged(records), judge_share=share)
    plain = {row.id: row.judgement for row in leaderboard(records, form)}
    for row in leaderboard(history, form):
        told = history.judgement(row.id)
        grade = told.innovation / 10 if told else plain[row.id]
        assert row.judgement == pytest.approx((1 - share) * plain[row.id] + share * grade)
    told_scale = Board(history).scale()
    fits = [
        (told_scale.fitness(r, form).rank_key, -r.experiment, r)
        for r in results(records)
        if told_scale.compares(r)
    ]
    slow = [r.candidate.id for *_, r in sorted(fits, key=lambda fit: fit[:2], reverse=True)]
    assert [row.id for row in leaderboard(history, form)] == slow


def test_in_the_noise_form_the_judge_only_breaks_ties() -> None:
    records = a_run(4)
    history = History(records, judgements=judged(records), judge_share=1.0)
    values = {row.id: row.fitness for row in leaderboard(records)}
    told = [values[row.id] for row in leaderboard(history)]
    assert all(round(10 * a) >= round(10 * b) for a, b in itertools.pairwise(told))
    assert [row.id for row in leaderboard(history)] != list(values)


def test_a_judgement_comes_with_its_experiment() -> None:
    records = a_run(0)
    history = History(records[:20], judge_share=1.0)
    (one,) = [j for j in judged(records) if j.experiment == 21][:1]
    history.add([r for r in records if r.experiment == 21], None, one)
    assert history.judgement(one.candidate) == one


def test_a_name_means_the_experiment_that_was_measured() -> None:
    records = [rejected("Echo", experiment=5), record("Echo", experiment=6)]
    assert find(records, "Echo") == 6


def test_a_name_of_two_that_were_measured_is_not_understood() -> None:
    records = [record("Echo", experiment=5), record("Echo", experiment=6)]
    with pytest.raises(InputError, match="means experiments 5, 6"):
        find(records, "Echo")
