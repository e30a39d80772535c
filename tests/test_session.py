"""What a run is expected to take, and how it is told to go on."""

from dataclasses import replace
from pathlib import Path

import pytest

from move37.asking import Words
from move37.loop import Plan, discover
from move37.records import Measured, Record
from move37.research.composer import Composer
from move37.session import cost_of, interrupted, models_of, seconds_before
from move37.store.store import Store
from tests.fakes import FakeLab, preset

PLAN = Plan(preset(), 5 + 2, 0)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    """Measured, by what the clock of a fake says: two seconds a task."""
    with Store.open(tmp_path_factory.mktemp("run") / "store.sqlite", create=True) as store:
        for _ in discover(PLAN, Composer(), FakeLab(), store):
            pass
        return [_timed(record, 2.0) for record in store.records()]


def _timed(record: Record, seconds: float, *, stopped: bool = False) -> Record:
    assert isinstance(record.outcome, Measured)
    measured = tuple(
        replace(one, seconds=seconds, stopped=stopped) for one in record.outcome.measurements
    )
    return replace(record, outcome=replace(record.outcome, measurements=measured))


def test_a_run_that_goes_on_expects_what_it_took_so_far(records: list[Record]) -> None:
    assert seconds_before(PLAN, records) == 2.0 * len(PLAN.preset.budgets)


def test_of_a_new_run_nothing_is_known() -> None:
    assert seconds_before(PLAN, []) is None


def test_what_another_machine_took_does_not_count(records: list[Record]) -> None:
    elsewhere = [
        replace(one, provenance=replace(one.provenance, hardware="another")) for one in records
    ]
    assert seconds_before(PLAN, elsewhere) is None


def test_what_was_stopped_early_does_not_count(records: list[Record]) -> None:
    early = [_timed(one, 0.1, stopped=True) for one in records[1:]]
    assert seconds_before(PLAN, [records[0], *early]) == 2.0 * len(PLAN.preset.budgets)


def test_what_is_done_already_is_not_expected_again() -> None:
    whole, left = cost_of(PLAN, 6.0, 0), cost_of(PLAN, 6.0, 5)
    assert left.core_seconds < whole.core_seconds
    assert cost_of(PLAN, 6.0, 7).core_seconds == 0


@pytest.mark.parametrize(
    ("experiments", "told"),
    [
        (6, "stopped after 1 of 2 proposals (and 5 baselines): they are kept in "),
        (3, "stopped after 3 of 5 baselines: they are kept in "),
    ],
)
def test_a_run_that_is_stopped_counts_proposals_and_baselines_apart(
    records: list[Record], tmp_path: Path, experiments: int, told: str
) -> None:
    with Store.open(tmp_path / "store.sqlite", create=True) as store:
        for record in records:
            if record.experiment < experiments:
                store.append([record])
        assert interrupted(PLAN, store).startswith(told)


def test_the_words_about_models_are_told_as_the_command_line_takes_them() -> None:
    words = Words(("http://127.0.0.1/v1#a b", "openai:m"), record=Path("tape"), max_tokens=9)
    assert words.arguments == (
        " --model 'http://127.0.0.1/v1#a b' --model openai:m --record tape --max-tokens 9"
    )


def test_the_models_that_proposed_so_far_are_known_by_their_names(records: list[Record]) -> None:
    last = records[-1].candidate
    proposal = replace(last.proposal, origin="openai:m")
    asked = replace(records[-1], candidate=replace(last, proposal=proposal))
    assert (models_of(records), models_of([*records, asked])) == ([], ["openai:m"])
