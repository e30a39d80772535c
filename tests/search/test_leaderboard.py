"""What the leaderboard shows, and in which order."""

from dataclasses import replace
from typing import get_args

import pytest

from move37.records import Record
from move37.search.fitness import Form
from move37.search.leaderboard import Row, leaderboard
from tests.search.builders import (
    ACCURACY,
    HALFWAY_LOSS,
    LOSS,
    baselines,
    crashed,
    record,
    rejected,
)

each_form = pytest.mark.parametrize("form", get_args(Form))


def names(rows: list[Row]) -> list[str]:
    return [row.name for row in rows]


def row(name: str, records: list[Record], form: Form = "noise") -> Row:
    (found,) = (row for row in leaderboard(records, form) if row.name == name)
    return found


def among_baselines(name: str, *records: Record) -> Row:
    return row(name, [*baselines(), *records])


# ---------------------------------------------------------------- who stands where


@each_form
def test_the_fittest_stands_first(form: Form) -> None:
    records = [
        record("Poor", loss_gain=-0.05, benchmark_gain=-0.05),
        record("Good", loss_gain=0.06, benchmark_gain=0.06),
        record("Fair", loss_gain=0.03, benchmark_gain=0.03),
    ]
    rows = leaderboard([*baselines(), *records], form)
    assert names(rows) == ["SoftmaxAttention", "Good", "Fair", "DeltaNet", "GatedDeltaNet", "Poor"]


def test_of_two_that_are_equally_fit_the_cheaper_stands_first() -> None:
    records = [record("Dear", flops=2e6), record("Cheap", flops=5e5)]
    order = names(leaderboard([*baselines(), *records]))
    assert order.index("Cheap") < order.index("Dear")


def test_of_two_that_are_equal_the_earlier_stands_first() -> None:
    records = [record("Later", experiment=9), record("Earlier", experiment=8)]
    order = names(leaderboard([*baselines(), *records]))
    assert order.index("Earlier") < order.index("Later")


@pytest.mark.parametrize("failed", [rejected("Echo"), crashed("Echo")])
def test_a_failure_is_not_listed(failed: Record) -> None:
    assert "Echo" not in names(leaderboard([*baselines(), failed]))


def test_a_gain_that_was_rejected_afterwards_is_not_listed() -> None:
    records = [record("Echo", step=0, loss_gain=0.4), rejected("Echo", step=1)]
    assert "Echo" not in names(leaderboard([*baselines(), *records]))


def test_a_candidate_of_several_records_is_listed_once() -> None:
    records = [record("Echo", step=0), record("Echo", step=1, seeds=(2, 3))]
    assert among_baselines("Echo", *records).seeds == (0, 1, 2, 3)


@pytest.mark.parametrize(
    "records",
    [[], [record("Echo")], baselines()[1:], baselines()[:1]],
    ids=["nothing", "a candidate", "no DeltaNet", "DeltaNet alone"],
)
def test_the_board_is_empty_while_there_is_nothing_to_compare(records: list[Record]) -> None:
    assert leaderboard(records) == []


def test_a_candidate_without_a_seed_in_common_does_not_empty_the_board() -> None:
    stranger = record("Echo", seeds=(98, 99))
    assert "DeltaNet" in names(leaderboard([*baselines(), stranger]))


# ---------------------------------------------------------------- what a line says


def test_delta_net_has_fitness_zero_and_judgement_one_half() -> None:
    delta_net = among_baselines("DeltaNet")
    assert delta_net.fitness == 0
    assert delta_net.judgement == pytest.approx(0.5)


def test_scores_are_means_over_the_seeds() -> None:
    echo = among_baselines("Echo", record("Echo", loss_gain=0.1, benchmark_gain=0.2))
    assert echo.scores == pytest.approx(
        {
            "language": LOSS * (1 - 0.1),
            "recall": ACCURACY * (1 + 0.2),
            "state tracking": ACCURACY * (1 + 0.2),
        }
    )


def test_loss_and_benchmark_sum_up_the_scores() -> None:
    echo = among_baselines("Echo", record("Echo", loss_gain=0.1, benchmark_gain=0.2))
    assert echo.loss == echo.scores["language"]
    tasks = [score for task, score in echo.scores.items() if task != "language"]
    assert echo.benchmark == pytest.approx(sum(tasks) / len(tasks))


def test_the_interval_holds_the_fitness() -> None:
    for row in leaderboard(baselines()):
        assert row.interval[0] <= row.fitness <= row.interval[1]


def test_delta_net_is_neither_better_nor_worse_than_itself() -> None:
    assert among_baselines("DeltaNet").verdict == "open"


@pytest.mark.parametrize(("gain", "verdict"), [(0.3, "better"), (-0.3, "worse"), (0.0, "open")])
def test_verdict_compares_with_delta_net(gain: float, verdict: str) -> None:
    echo = record("Echo", seeds=range(6), loss_gain=gain, benchmark_gain=gain)
    assert among_baselines("Echo", echo).verdict == verdict


def test_a_stopped_run_tells_where_it_was_stopped() -> None:
    echo = among_baselines("Echo", record("Echo", stopped=True))
    assert echo.stopped == ("language", "recall", "state tracking")
    assert echo.loss == pytest.approx(HALFWAY_LOSS)


def test_a_whole_run_was_stopped_nowhere() -> None:
    assert among_baselines("Echo", record("Echo")).stopped == ()


def test_a_line_tells_what_the_mixer_costs() -> None:
    echo = among_baselines("Echo", record("Echo", flops=3e6, state_bytes=77))
    assert (echo.flops_per_token, echo.state_bytes, echo.parameters) == (3e6, 77, 100_000)


def test_a_line_tells_where_the_mixer_comes_from() -> None:
    child = replace(record("Echo", experiment=12), parents=("0123456789ab",))
    echo = among_baselines("Echo", child)
    assert (echo.id, echo.origin, echo.experiment, echo.parents) == (
        child.candidate.id,
        "composer",
        12,
        ("0123456789ab",),
    )
