"""What a terminal, or a file in its place, is told of language models."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from move37 import terminal
from move37.experiments import gather
from move37.history import History
from move37.records import CheckResult, Fallback, Record, Rejected
from move37.research.analyst import analyse
from move37.research.ledger import CostRow
from move37.research.models import Asking
from move37.search.leaderboard import leaderboard
from move37.terminal import Progress, costs_table, fallbacks_list, how_far, spent
from tests.search.builders import baselines, crashed, record, rejected

LONG = "http://a-machine-with-a-long-name.example.org:8000/v1#a-model-with-a-long-name-30b-instruct"
ASKS = Asking("asks", "researcher", "openai:x", 7)
WAITS = Asking("waits", "researcher", "openai:x", 7, 20.0, "429 rate limited")
ENDS = Asking("ends", "researcher", "openai:x", 7)


def told(*events: Asking, is_terminal: bool, left_seconds: float | None = None) -> str:
    """What stands there after these events."""
    file = io.StringIO()
    console = Console(file=file, force_terminal=is_terminal, width=100, color_system=None)
    progress = Progress(console, baselines=5, done=5, total=8, workers=1, left_seconds=left_seconds)
    progress.watch(7, "", "propose")
    for event in events:
        progress.asked(event)
    with progress:
        pass  # it is drawn once at least
    return file.getvalue()


# ---------------------------------------------------------------- while a model is asked


def test_a_terminal_shows_which_role_asks_which_model() -> None:
    assert "   7  researcher asks openai:x, 0 s so far" in told(ASKS, is_terminal=True)


def test_a_terminal_shows_how_long_a_model_is_waited_for_and_why() -> None:
    text = told(ASKS, WAITS, is_terminal=True)
    assert "   7  researcher waits 20 s for openai:x: 429 rate limited" in text


def test_what_has_ended_is_not_shown_any_more() -> None:
    text = told(ASKS, ENDS, is_terminal=True)
    assert "7  ...: propose" in text
    assert "openai:x" not in text


def test_a_model_that_is_asked_is_shown_though_as_many_others_work_as_there_are_workers() -> None:
    text = told(ASKS._replace(experiment=9), is_terminal=True)
    assert "7  ...: propose" in text
    assert "   9  researcher asks openai:x" in text


def test_where_models_alone_are_waited_for_no_time_is_left_to_tell() -> None:
    assert " left" not in told(ASKS, is_terminal=True, left_seconds=0.0)


@pytest.mark.parametrize("events", [(), (ASKS, ENDS)])
def test_time_is_left_to_tell_where_no_model_is_asked(events: tuple[Asking, ...]) -> None:
    assert "about 0 s left" in told(*events, is_terminal=True, left_seconds=0.0)


def test_the_time_of_trainings_is_told_while_a_model_is_asked() -> None:
    assert "about 60 s left" in told(ASKS, is_terminal=True, left_seconds=60.4)


def test_a_file_is_told_of_a_long_wait_in_a_line() -> None:
    assert told(ASKS, WAITS, ASKS, ENDS, is_terminal=False) == (
        "   7  researcher waits 20 s for openai:x: 429 rate limited\n"
    )


def test_a_file_is_told_nothing_of_a_short_wait() -> None:
    assert told(ASKS, WAITS._replace(wait_seconds=2.0), ENDS, is_terminal=False) == ""


def test_a_file_is_told_of_a_long_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "SILENCE_TOLD", 0.0)
    file = io.StringIO()
    console = Console(file=file)
    progress = Progress(console, baselines=5, done=5, total=8, workers=1, left_seconds=None)
    progress.asked(ASKS)
    (_, _, silent) = progress._asked[7]
    silent.join(60)
    assert file.getvalue().startswith("   7  researcher asks openai:x, 0 s so far")


def test_a_run_that_goes_on_shows_how_far_it_was() -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=80)
    with Progress(console, baselines=5, done=6, total=8, workers=1, left_seconds=None):
        pass  # it is drawn once at least
    assert "1 of 3 proposals" in file.getvalue()


@pytest.mark.parametrize(
    ("done", "words"), [(3, "3 of 5 baselines"), (5, "0 of 3 proposals"), (7, "2 of 3 proposals")]
)
def test_baselines_and_proposals_are_counted_apart(done: int, words: str) -> None:
    assert how_far(done, 8, 5) == words


# ---------------------------------------------------------------- what they cost

ROWS = [
    CostRow("engineer", LONG, 1, 0, 1_000, 200, 1.0, None),
    CostRow("researcher", LONG, 3, 1, 20_000, 4_000, 30.5, None),
    CostRow("researcher", "openai:x", 2, 0, 5_000, 1_000, 9.0, 0.25),
]


def test_the_name_of_a_model_is_a_line_of_its_own() -> None:
    assert LONG in costs_table(ROWS).plain.splitlines()


def test_all_other_lines_of_costs_fit_into_eighty_columns() -> None:
    dear = CostRow("novelty_judge", "openai:x", 9_000, 900, 9_000_000, 900_000, 90_000.0, 90.0)
    lines = costs_table([*ROWS, dear]).plain.splitlines()
    assert max(len(line) for line in lines if line != LONG) <= 80


def test_the_last_line_of_costs_sums_calls_tokens_and_dollars() -> None:
    assert (
        costs_table(ROWS).plain.splitlines()[-1].split()
        == "all 6 1 26,000 5,200 40.5 0.2500 + unknown".split()
    )


def test_a_sum_with_a_worst_case_in_it_is_told_as_a_bound() -> None:
    rows = [ROWS[2], replace(ROWS[2], role="judge", worst_cases=2)]
    researcher, judge, everything, note = costs_table(rows).plain.split("\n")[2:]
    assert "<=" not in researcher
    assert judge.count("<=") == everything.count("<=") == 3  # tokens in, out, dollars
    assert note == "<= the worst case stands for 2 calls whose tokens the endpoint did not tell"
    assert spent(rows, None, None).endswith("4 calls, <= 12,000 tokens, <= $0.5000")


def test_an_answer_of_no_use_is_told_with_its_experiment_role_model_and_reason() -> None:
    (_, _, *told) = fallbacks_list([Fallback("judge", LONG, 7, "Expected a number.")]).plain.split(
        "\n"
    )
    assert told == [f"  judge          {LONG}", "      in 7: Expected a number."]


def test_answers_of_no_use_for_the_same_reason_are_told_together() -> None:
    useless = [Fallback("judge", "openai:x", n, "Expected a number.") for n in range(1, 11)]
    useless += useless[-1:]  # twice in one experiment
    told = fallbacks_list([*useless[:5], Fallback("analyst", "openai:x", 5, "No."), *useless[5:]])
    assert told.plain.split("\n")[1:] == [
        "Answers of no use: 12",
        "  analyst        openai:x",
        "      in 5: No.",
        "  judge          openai:x",
        "      in 3, 4, 5, 6, 7, 8, 9, 10 and 2 before: Expected a number.",
    ]


@pytest.mark.parametrize(
    ("rows", "limits", "words"),
    [
        (ROWS[2:], (None, None), "openai:x: 2 calls, 6,000 tokens, $0.2500"),
        (ROWS[2:], (1.0, 9_000), "openai:x: 2 calls, 6,000 of 9,000 tokens, $0.2500 of $1.0000"),
        (ROWS[:1], (None, None), f"{LONG}: 1 call, 1,200 tokens, price unknown"),
        (ROWS, (None, None), f"{LONG}, openai:x: 6 calls, 31,200 tokens, $0.2500 + unknown"),
    ],
)
def test_what_was_spent_is_told_in_a_line(
    rows: list[CostRow], limits: tuple[float | None, int | None], words: str
) -> None:
    assert spent(rows, *limits) == words


# ---------------------------------------------------------------- an experiment


def page(record: Record) -> str:
    console = Console(file=io.StringIO(), width=100, color_system=None)
    with console.capture() as shown:
        console.print(terminal.experiment_page(gather(History([record]), record.experiment)))
    return shown.get()


def test_the_page_of_a_refused_experiment_says_so_above_and_its_evidence_once() -> None:
    outcome = Rejected("causality", "seen", (CheckResult("causality", "failed", "seen", 0.1),))
    shown = page(replace(rejected("Echo"), outcome=outcome))
    assert ", refused (causality)" in shown.split("\n")[1]
    assert shown.count("seen") == 1


def test_a_refusal_without_a_table_has_its_evidence_beside_it() -> None:
    told = "refused (novelty): the same program"
    assert told in page(replace(rejected("Echo"), outcome=Rejected("novelty", "the same program")))


def test_the_page_of_a_crash_says_so_above() -> None:
    assert ", crashed" in page(crashed("Echo")).split("\n")[1]


def test_the_page_of_a_measured_experiment_says_of_what_its_intervals_are() -> None:
    records = [*baselines(), record("Echo", loss_gain=0.03)]
    lesson = analyse(records[-1:], records[:-1])
    history = History(records, [lesson])
    console = Console(file=io.StringIO(), width=100, color_system=None)
    with console.capture() as shown:
        console.print(terminal.experiment_page(gather(history, records[-1].experiment)))
    assert "+- is of one task alone, at 95 %" in shown.get()


# ---------------------------------------------------------------- the leaderboard

ALL = [*baselines(), record("Echo", loss_gain=0.03), record("Worse", loss_gain=-0.05)]


def board(width: int, *records: Record, warnings: tuple[str, ...] = ()) -> list[str]:
    """The lines of a leaderboard in a terminal of this width."""
    console = Console(file=io.StringIO(), width=width, color_system=None)
    with console.capture() as shown:
        rows = leaderboard([*ALL, *records])
        console.print(terminal.leaderboard_page(rows, warnings, width=width))
    return shown.get().splitlines()


@pytest.mark.parametrize("width", [24, 30, 40, 60, 80, 100, 200])
def test_a_leaderboard_keeps_names_and_fitness_at_any_width(width: int) -> None:
    lines = board(width)
    assert max(len(line) for line in lines) <= width
    begin = 1 + next(n for n, line in enumerate(lines) if set(line) == {"─"})
    rows = leaderboard(ALL)
    for row, line in zip(rows, lines[begin : begin + len(rows)], strict=True):
        assert row.name[:14] in line
        assert f" {row.fitness:+.1f}" in line
        assert "…" not in line.partition(f" {row.fitness:+.1f}")[2]  # no number is cut


@pytest.mark.parametrize(
    ("width", "left_out"),
    [
        (100, None),
        (80, None),
        (60, "number of seeds, state, rank, state tracking"),
        (40, "number of seeds, state, rank, state tracking, recall, language, interval"),
    ],
)
def test_a_narrow_leaderboard_leaves_out_the_least_important_columns_and_says_which(
    width: int, left_out: str | None
) -> None:
    text = " ".join(" ".join(board(width)).split())
    if left_out is None:
        assert "Left out" not in text
    else:
        assert f"Left out for lack of room: {left_out}. A wider terminal or --json has them" in text


def test_a_long_name_is_shortened_and_a_baseline_keeps_its_mark() -> None:
    long = record("A" * 60, loss_gain=0.02, experiment=70)
    (line,) = (line for line in board(80, long) if "AAA" in line)
    assert "A…" in line
    assert sum(" · " in line for line in board(80, long)[:-1]) == len(baselines())


def test_a_wide_terminal_shows_long_names_whole() -> None:
    long = record("A" * 60, loss_gain=0.02, experiment=70)
    assert any("A" * 60 in line for line in board(140, long))


def test_a_leaderboard_ends_with_the_warnings_of_its_numbers() -> None:
    assert board(100, warnings=("Smoke means nothing.",))[-1].rstrip() == "Smoke means nothing."
