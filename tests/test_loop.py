"""The loop: the same records whatever the workers, nothing lost, nothing doubled."""

import gc
import itertools
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, tzinfo
from pathlib import Path

import pytest

from move37 import loop
from move37.loop import Plan, discover
from move37.presets import LAPTOP, SMOKE
from move37.records import (
    Brief,
    Candidate,
    Crashed,
    Measured,
    Measurement,
    Outcome,
    Proposal,
    Record,
    Rejected,
    RunFailed,
)
from move37.research.composer import Composer
from move37.research.novelty import repeats
from move37.research.researcher import Researcher
from move37.search.decisions import check_ruler
from tests.fakes import FakeLab, Memory, Told, preset

BASELINES = len(SMOKE.baselines)


def a_plan(*, proposals: int = 8, workers: int = 1, seed: int = 0) -> Plan:
    return Plan(preset(), BASELINES + proposals, seed, workers)


def run(
    plan: Plan,
    *,
    researcher: Researcher | None = None,
    lab: FakeLab | None = None,
    store: Memory | None = None,
) -> Memory:
    store = store or Memory()
    for _ in discover(plan, researcher or Composer(), lab or FakeLab(), store):
        pass
    return store


def same(a: Memory, b: Memory) -> bool:
    pairs = itertools.zip_longest(a.records(), b.records())
    return a.lessons() == b.lessons() and all(x and y and x.same_as(y) for x, y in pairs)


def numbered(brief: Brief) -> str:
    return f"mix = {brief.experiment}"


def test_two_workers_give_the_same_records_as_one() -> None:
    one = run(a_plan(workers=1))
    two = run(a_plan(workers=2), lab=FakeLab(jitter=0.02))
    assert same(one, two)


def test_another_seed_gives_other_records() -> None:
    assert not same(run(a_plan(seed=0)), run(a_plan(seed=1)))


@pytest.mark.parametrize("killed_after", [1, 3, BASELINES, BASELINES + 1, BASELINES + 5])
def test_a_killed_run_goes_on_as_if_nothing_had_happened(killed_after: int) -> None:
    undisturbed, killed = run(a_plan()), Memory()
    stream: Iterator[object] = discover(a_plan(), Composer(), FakeLab(), killed)
    for _ in itertools.islice(stream, killed_after):
        pass
    del stream
    assert len(killed.experiments) == killed_after
    assert same(run(a_plan(workers=2), store=killed), undisturbed)


class _SetBack(datetime):
    """A clock that is set back by a day each time somebody looks."""

    days = itertools.count()

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> "_SetBack":
        return cls(2020, 1, 31, tzinfo=tz) - timedelta(days=next(cls.days))


def test_a_clock_that_is_set_back_changes_no_record(monkeypatch: pytest.MonkeyPatch) -> None:
    calm = run(a_plan())
    monkeypatch.setattr(loop, "datetime", _SetBack)
    monkeypatch.setattr(time, "time", lambda days=_SetBack.days: -86_400.0 * next(days))
    late = run(a_plan(workers=2))
    assert same(late, calm)
    moments = [record.provenance.started_at for record in late.records()]
    assert moments != sorted(moments)


@pytest.mark.parametrize("proposals", [1, 2])
def test_a_run_leaves_the_collector_as_it_was(proposals: int) -> None:
    before = gc.get_threshold()
    done = discover(a_plan(proposals=proposals), Composer(), FakeLab(), Memory())
    for _ in range(BASELINES + 1):  # to its end, or broken off before
        next(done)
    del done
    assert gc.get_threshold() == before


def test_a_longer_run_begins_as_the_shorter_one() -> None:
    short, long = run(a_plan(proposals=4)), run(a_plan(proposals=8))
    assert all(a.same_as(b) for a, b in zip(short.records(), long.records(), strict=False))


def test_the_baselines_come_first_on_every_seed() -> None:
    store = run(a_plan(proposals=1))
    for number, baseline in enumerate(SMOKE.baselines):
        (record,) = store.experiments[number]
        assert record.candidate.proposal.name == baseline.name
        assert isinstance(record.outcome, Measured)
        assert {m.seed for m in record.outcome.measurements} == set(SMOKE.seeds)


def test_a_refused_program_goes_back_to_the_researcher_with_the_evidence() -> None:
    def programs(brief: Brief) -> str:
        return f"mix = {brief.experiment}, {brief.attempt}" + ("  # FAIL" * (brief.attempt == 0))

    researcher = Told(programs)
    store = run(a_plan(proposals=1), researcher=researcher)
    first, second, *_ = store.experiments[-1]
    assert isinstance(first.outcome, Rejected)
    assert isinstance(second.outcome, Measured)
    assert researcher.briefs[1].failures == (first,)
    assert researcher.briefs[1].parent == researcher.briefs[0].parent


def test_after_the_last_attempt_the_experiment_ends_with_its_failures() -> None:
    store = run(a_plan(proposals=1), researcher=Told(lambda b: f"mix = {b.attempt}  # CRASH"))
    assert len(store.experiments[-1]) == SMOKE.attempts
    assert all(isinstance(record.outcome, Crashed) for record in store.experiments[-1])


def test_a_program_that_is_known_costs_no_examination() -> None:
    lab = FakeLab()
    store = run(a_plan(proposals=2), researcher=Told(lambda _: "mix = 1"), lab=lab)
    outcomes = [record.outcome for record in store.experiments[-1]]
    assert {outcome.check for outcome in outcomes if isinstance(outcome, Rejected)} == {"novelty"}
    assert len(outcomes) == SMOKE.attempts


@pytest.mark.parametrize("workers", [1, 3])
def test_a_program_is_not_tried_twice_though_no_brief_knows_of_it_yet(workers: int) -> None:
    lab = FakeLab(jitter=0.02)
    twins = Told(lambda brief: f"mix = {brief.attempt}")
    store = run(a_plan(proposals=2, workers=workers), researcher=twins, lab=lab)
    first, second = store.experiments[-2], store.experiments[-1]
    assert isinstance(first[0].outcome, Measured)
    assert second[0].outcome == Rejected(
        "novelty", f"the same program as Told{BASELINES} of experiment {BASELINES}"
    )


@pytest.mark.parametrize(("gain", "seeds"), [(0.5, {0, 1}), (-5.0, {0})])
def test_a_second_seed_is_spent_only_where_the_first_leaves_the_question_open(
    gain: float, seeds: set[int]
) -> None:
    class _Judged(FakeLab):
        def _measure(self, source: str, task: str, seed: int, tokens: int) -> Measurement:
            m = super()._measure(source, task, seed, tokens)
            change = 0.0 if "class " in source else gain
            return replace(m, value=m.value - change if task == "language" else m.value + change)

    store = run(a_plan(proposals=1), researcher=Told(numbered), lab=_Judged())
    spent = {seed for record in store.experiments[-1] for seed in record.provenance.seeds}
    assert spent == seeds


class _LabWithOneTooGood(FakeLab):
    def _measure(self, source: str, task: str, seed: int, tokens: int):  # type: ignore[no-untyped-def]
        measurement = super()._measure(source, task, seed, tokens)
        if "too good" not in source:
            return measurement
        return replace(measurement, value=0.1 if task == "language" else 1.0)


def test_a_gain_that_is_too_good_goes_to_the_verifier_at_full_level() -> None:
    lab = _LabWithOneTooGood()
    run(a_plan(proposals=1), researcher=Told(lambda _: "'too good'"), lab=lab)
    last = lab.assignments[-1]
    assert (last.level, last.seeds) == ("full", ())
    assert last.checks


class _LabThatFindsTheLeak(_LabWithOneTooGood):
    def examine(self, assignment, progress=lambda stage: None) -> Outcome:  # type: ignore[no-untyped-def]
        if assignment.level == "full":
            return Rejected("prefix", "it leaks after all")
        return super().examine(assignment, progress)


def test_what_the_full_level_refuses_has_no_children() -> None:
    programs = Told(lambda b: "'too good'" if b.experiment == BASELINES else numbered(b))
    store = run(a_plan(proposals=8), researcher=programs, lab=_LabThatFindsTheLeak())
    refused = store.experiments[BASELINES][-1]
    assert isinstance(refused.outcome, Rejected)
    assert all(refused.candidate.id not in record.parents for record in store.records())


def test_a_brief_knows_only_what_is_older_than_the_lag() -> None:
    researcher = Told(numbered)
    run(a_plan(proposals=8), researcher=researcher)
    lag = preset().selection.lag
    for brief in researcher.briefs:
        known = [r.experiment for r in (brief.parent, *brief.references) if r]
        known += [lesson.experiment for lesson in brief.lessons]
        assert all(n < BASELINES or n <= brief.experiment - lag for n in known)


class _LabWithoutDeltaNet(FakeLab):
    def examine(self, assignment, progress=lambda stage: None) -> Outcome:  # type: ignore[no-untyped-def]
        if "class DeltaNet" in assignment.source:
            return Crashed("train", "ValueError: broken")
        return super().examine(assignment, progress)


def test_a_baseline_that_fails_stops_the_run() -> None:
    with pytest.raises(RunFailed, match="the baseline DeltaNet could not be measured"):
        run(a_plan(), lab=_LabWithoutDeltaNet())


def test_a_ruler_that_does_not_hold_stops_the_run_before_anything_is_measured_against_it() -> None:
    bent = Plan(preset(ruler=LAPTOP.ruler), BASELINES + 3, 0)
    store = Memory()
    with pytest.raises(RunFailed, match="the ruler does not hold: on recall with seed 0"):
        run(bent, store=store)
    assert len(store.experiments) == BASELINES
    with pytest.raises(RunFailed, match="the ruler does not hold"):
        run(bent, store=store)


def test_a_ruler_that_holds_is_passed() -> None:
    store = run(a_plan(proposals=1))
    values = {"DeltaNet": 0.99, "LinearAttention": 0.4, "SoftmaxAttention": 1.0}

    def straight(record: Record) -> Record:
        outcome, name = record.outcome, record.candidate.proposal.name
        if not isinstance(outcome, Measured) or name not in values:
            return record
        measured = tuple(
            replace(m, value=values[name]) if m.task == "recall" else m
            for m in outcome.measurements
        )
        return replace(record, outcome=Measured(outcome.checks, measured))

    assert LAPTOP.ruler is not None
    check_ruler(LAPTOP.ruler, [straight(record) for record in store.records()])


def a_proposal(source: str, components: tuple[str, ...] = ()) -> Proposal:
    return Proposal("Name", "Why.", source, "told", components)


def test_novelty_looks_through_comments_docstrings_and_class_names() -> None:
    tried = [(7, a_proposal('"""A."""\nclass A:\n    x = 1\n'))]
    assert repeats(a_proposal("class B:  # other\n    x = 1"), tried)
    assert not repeats(a_proposal("class B:\n    x = 2"), tried)


def test_novelty_reads_a_program_that_is_nested_too_deeply() -> None:
    deep = Proposal("Deep", "", f"x = {'-' * 3_000}1", "test")
    assert repeats(deep, [(3, deep)]) is not None


def test_novelty_knows_a_composition_by_its_parts() -> None:
    tried = [(7, a_proposal("one", ("update:delta",)))]
    assert repeats(a_proposal("other", ("update:delta",)), tried)
    assert not repeats(a_proposal("other", ("update:add",)), tried)


def test_the_identity_of_a_candidate_is_its_program() -> None:
    assert Candidate.of(a_proposal("a")).id == Candidate.of(replace(a_proposal("a"), name="B")).id
    assert Candidate.of(a_proposal("a")).id != Candidate.of(a_proposal("b")).id


def test_the_cards_of_a_gpu_run_are_named_in_its_records(tmp_path: Path) -> None:
    for number, model in enumerate(["NVIDIA H200", "NVIDIA L4"]):
        (tmp_path / f"000{number}").mkdir()
        told = f"Model: \t\t {model}\nIRQ:   \t\t 41\n"
        (tmp_path / f"000{number}" / "information").write_text(told)
    assert loop._cards(tmp_path) == ["NVIDIA H200", "NVIDIA L4"]
