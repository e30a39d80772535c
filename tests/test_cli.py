"""The command line: clear sentences, exit statuses, and JSON that a program can read."""

import ast
import contextlib
import itertools
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from move37 import terminal
from move37.catalogue import catalogue, find
from move37.loop import Plan, discover
from move37.presets import SMOKE
from move37.records import Call, Candidate, Fallback, Measured, Proposal, Record, Rejected
from move37.research.composer import Composer
from move37.store.store import Store
from tests.fakes import FakeLab, Told, preset
from tests.research.play import told
from tests.research.server import Server, answer, listed, refusal

WIDE = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1"}


def move37(*arguments: str, env: dict[str, str] = WIDE) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "move37.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=300)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, measured by hash."""
    path = tmp_path_factory.mktemp("run") / "store.sqlite"
    plan = Plan(preset(), 5 + 6, 0)
    with Store.open(path, create=True) as opened:
        opened.keep_settings(Plan(SMOKE, plan.experiments, plan.seed).settings)
        for _ in discover(plan, Composer(), FakeLab(), opened):
            pass
    return path


def records(path: Path) -> list[Record]:
    with Store.open(path) as opened:
        return opened.records()


# ---------------------------------------------------------------- reading commands


def test_top_as_json_has_what_a_program_needs(store: Path) -> None:
    done = move37("top", "--json", "--store", str(store))
    rows = json.loads(done.stdout)
    wanted = {
        "id",
        "name",
        "origin",
        "fitness",
        "loss",
        "benchmark",
        "interval",
        "parameters",
        "parents",
    }
    assert wanted <= set(rows[0])
    assert {row["origin"] for row in rows} == {"baseline", "composer"}
    assert sum(row["origin"] == "baseline" for row in rows) == 5


def test_top_shows_every_measured_mixer_and_marks_the_baselines(store: Path) -> None:
    text = move37("top", "--store", str(store)).stdout
    assert "GatedDeltaNet ·" in text
    assert "bits/" in text


def test_top_fits_into_eighty_columns(store: Path) -> None:
    text = move37("top", "--store", str(store), env={**WIDE, "COLUMNS": "80"}).stdout
    assert max(map(len, text.splitlines())) <= 80
    assert re.search(r" DeltaNet · +0 +\+0\.0 .* \d\.\d{3} ", text)  # nothing is cut off


SMOKE_WARNING = "its trainings are too short for its numbers to mean anything"


@pytest.mark.parametrize("command", ["top", "show 0", "tree", "lessons"])
def test_the_numbers_of_a_smoke_run_carry_their_warning_in(store: Path, command: str) -> None:
    assert SMOKE_WARNING in move37(*command.split(), "--store", str(store)).stdout
    shown = json.loads(move37(*command.split(), "--json", "--store", str(store)).stdout)
    for row in shown if isinstance(shown, list) else [shown]:
        assert SMOKE_WARNING in row["warnings"][0]


def test_the_brief_of_a_smoke_run_carries_its_warning(tmp_path: Path) -> None:
    none = str(tmp_path / "none.sqlite")
    assert SMOKE_WARNING in move37("brief", "--preset", "smoke", "--store", none).stdout
    assert "Seeds 18 and 27 were chosen" in move37("brief", "--store", none).stdout


@pytest.mark.parametrize("by", ["number", "id", "prefix", "name"])
def test_show_finds_an_experiment_by(store: Path, by: str) -> None:
    first = records(store)[0]
    identity = {
        "number": "0",
        "id": first.candidate.id,
        "prefix": first.candidate.id[:6],
        "name": first.candidate.proposal.name,
    }[by]
    done = move37("show", identity, "--store", str(store))
    assert done.returncode == 0
    for part in ("Motivation", "Record 0", "Lesson", "Program", "class DeltaNet"):
        assert part in done.stdout


def test_show_as_json_holds_the_records_the_lesson_and_the_lineage(store: Path) -> None:
    shown = json.loads(move37("show", "7", "--json", "--store", str(store)).stdout)
    assert set(shown) == {"row", "records", "lesson", "lineage", "judgement", "warnings"}
    assert shown["records"][0]["experiment"] == 7


def test_the_program_that_show_prints_can_be_copied(store: Path) -> None:
    text = move37("show", "7", "--store", str(store), env={**WIDE, "COLUMNS": "60"}).stdout
    program = text.split("\nProgram\n", 1)[1]
    assert "class " in program
    compile(program, "program.py", "exec")


def test_tree_and_lessons_name_every_experiment(store: Path) -> None:
    tree = json.loads(move37("tree", "--json", "--store", str(store)).stdout)
    lessons = json.loads(move37("lessons", "--json", "--store", str(store)).stdout)
    assert [node["experiment"] for node in tree] == list(range(11))
    assert [lesson["experiment"] for lesson in lessons] == list(range(11))
    assert "#10" in move37("tree", "--store", str(store)).stdout
    assert "Next:" in move37("lessons", "--store", str(store)).stdout


def test_lessons_stand_below_their_names_at_any_width(store: Path) -> None:
    done = move37("lessons", "--store", str(store), env={**WIDE, "COLUMNS": "50"})
    lessons = done.stdout.partition("A smoke run")[0].splitlines()
    assert {line[:5] for line in lessons if not re.match(r" +\d+  \w", line)} == {" " * 5}


def test_mixers_lists_each_in_a_line_with_recurrence_paper_state_and_cost() -> None:
    heading, *lines = move37("mixers").stdout.splitlines()
    assert heading.split() == ["mixer", "recurrence", "arXiv", "state", "time"]
    assert [line.split()[0] for line in lines[:-2]] == [entry.name for entry in catalogue()]
    (told,) = (line for line in lines if line.startswith("GatedDeltaNet "))
    assert re.split(r" {2,}", told)[1:5] == ["S←aS; S←S+b(v-Sk)kᵀ", "2412.06464", "HVK", "THKV"]


def test_the_list_of_mixers_in_a_pipe_has_no_trailing_blanks() -> None:
    lines = move37("mixers", env={**WIDE, "COLUMNS": "80"}).stdout.splitlines()
    assert [line for line in lines if line != line.rstrip()] == []


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_the_list_of_mixers_fits_into_a_terminal(width: int) -> None:
    told = terminal.mixer_list(catalogue(), width).plain.splitlines()
    assert len(told) == len(catalogue()) + 3
    assert max(len(line) for line in told) <= width


def test_mixers_with_a_name_prints_a_program_that_can_be_copied() -> None:
    told = move37("mixers", "DeltaNet").stdout
    assert told.endswith(find("DeltaNet").source)
    assert ast.dump(ast.parse(told)) == ast.dump(ast.parse(find("DeltaNet").source))


def test_mixers_with_a_name_shows_import_constructor_and_file() -> None:
    shown, entry = move37("mixers", "GLA").stdout.splitlines(), find("GatedLinearAttention")
    assert shown[:3] == [f"# {entry.import_line}", f"# {entry.constructor}", f"# {entry.path}"]
    assert Path(entry.path).read_text() == entry.source


def test_mixers_as_json_holds_recurrence_paper_time_and_state() -> None:
    first = json.loads(move37("mixers", "--json").stdout)[0]
    assert {"name", "recurrence", "paper", "time", "state"} <= set(first)


def test_a_mixer_as_json_holds_import_path_and_options() -> None:
    told = json.loads(move37("mixers", "GLA", "--json").stdout)
    assert told["import"] == "from move37.nn.mixers import GatedLinearAttention"
    assert told["path"] == find("GLA").path
    assert told["options"] == {"rank": 16}


def test_python_m_move37_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "move37", "version"], capture_output=True, text=True, timeout=300
    )
    assert (done.returncode, done.stdout) == (0, move37("version").stdout)


def test_the_version_is_an_option_and_a_command() -> None:
    option, command = move37("--version"), move37("version")
    assert (option.returncode, option.stdout) == (0, command.stdout)
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", option.stdout)


def test_an_unknown_mixer_is_told_which_there_are() -> None:
    refused(move37("mixers", "Perceptron"), "no mixer 'Perceptron' in the library: expected one of")


def test_verify_of_a_name_in_the_library_is_told_which_file_to_give() -> None:
    told = move37("verify", "GatedDeltaNet")
    refused(told, "The library's GatedDeltaNet is checked by: move37 verify ")
    assert told.stderr.strip().endswith(find("GatedDeltaNet").path)


COMMANDS = (
    "",
    *("run", "step", "top", "show", "tree", "costs", "lessons", "mixers", "verify", "import"),
    *("brief", "submit", "mcp", "doctor", "version"),
)


def _help(command: str, width: int) -> str:
    done = move37(*command.split(), "--help", env={**WIDE, "COLUMNS": str(width)})
    assert done.returncode == 0
    return done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_wrapped_at_the_width_of_the_terminal_and_nothing_is_cut(command: str) -> None:
    wide = _help(command, 400)
    for width in (60, 80, 100):
        text = _help(command, width)
        assert max(len(line) for line in text.splitlines()) <= width
        assert "…" not in text
        (prose, *_) = text.split("╭─ ")
        # A line ends because the next word has no room, or its paragraph is over.
        for line, following in itertools.pairwise(prose.rstrip().splitlines()):
            if line.strip() and following.strip():
                assert len(line.rstrip()) + 1 + len(following.split()[0]) > width - 1, line
        for title in re.findall(r"╭─ (.*?) ─", wide):
            assert f"╭─ {title} ─" in text


def test_the_help_of_every_command_is_looked_at() -> None:
    (table,) = re.findall(r"Commands ─+╮\n(.*?)╰", _help("", 200), re.S)
    listed = {line.split()[1] for line in table.splitlines()}
    assert listed - {"store"} == set(COMMANDS) - {""}


def test_the_help_of_run_fits_on_one_screen() -> None:
    text = move37("run", "--help", env={**WIDE, "COLUMNS": "80"}).stdout
    assert len(text.splitlines()) <= 30


# ---------------------------------------------------------------- bad input


def refused(done: subprocess.CompletedProcess[str], sentence: str) -> None:
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert re.search(sentence, re.sub(r"[\s│]+", " ", done.stderr)), done.stderr


def test_an_unknown_preset_is_told_which_there_are() -> None:
    refused(
        move37("run", "--preset", "moon"), "unknown preset 'moon': expected one of laptop, smoke"
    )


@pytest.mark.parametrize("option", ["--experiments", "--seed", "--workers"])
def test_a_negative_number_is_refused(option: str) -> None:
    refused(move37("run", option, "-3"), "greater than or equal to")


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("--device", "tpu", "unknown device 'tpu': expected cpu or cuda"),
        ("--fitness", "taste", "unknown fitness 'taste': expected one of noise, paper"),
    ],
)
def test_an_unknown_word_is_refused(tmp_path: Path, option: str, value: str, sentence: str) -> None:
    path = tmp_path / "store.sqlite"
    refused(move37("run", option, value, "--store", str(path)), sentence)
    assert not path.exists()


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    done = move37("run", "--preset", "smoke", "--store", str(tmp_path / "none" / "store.sqlite"))
    refused(done, "the folder .*none does not exist")


def test_a_missing_store_is_refused(tmp_path: Path) -> None:
    refused(move37("top", "--store", str(tmp_path / "none.sqlite")), "no store at")


def test_a_corrupt_store_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    path.write_text("this is not a database" * 100)
    before = path.read_bytes()
    for command in ("run", "top", "step"):
        refused(move37(command, "--store", str(path)), "is no move37 store, or is damaged")
    assert path.read_bytes() == before


def test_a_store_of_a_newer_version_is_refused(store: Path, tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    shutil.copy(store, path)
    link = sqlite3.connect(path)
    link.execute("UPDATE meta SET value = '99' WHERE key = 'version'")
    link.commit()
    link.close()
    refused(move37("run", "--preset", "smoke", "--store", str(path)), "written by a newer move37")


def test_another_seed_on_the_same_store_is_refused(store: Path) -> None:
    done = move37("run", "--preset", "smoke", "--seed", "5", "--store", str(store))
    refused(done, "was started with seed 0: go on with the same settings")


def test_a_run_in_which_nothing_was_measured_fails_and_says_why(tmp_path: Path) -> None:
    path, plan = tmp_path / "store.sqlite", Plan(preset(), 5 + 2, 0)
    with Store.open(path, create=True) as opened:
        opened.keep_settings(Plan(SMOKE, 7, 0).settings)
        refused_all = Told(lambda brief: f"mix = {brief.experiment}, {brief.attempt}  # FAIL")
        for _ in discover(plan, refused_all, FakeLab(), opened):
            pass
    done = move37("run", "--preset", "smoke", "--experiments", "2", "--store", str(path))
    assert done.returncode == 1
    assert "no proposal of 2 could be measured: 6 at 'causality'" in done.stderr


def test_an_experiment_that_is_not_there_is_refused(store: Path) -> None:
    refused(move37("show", "nobody", "--store", str(store)), "no experiment 'nobody'")


# ---------------------------------------------------------------- whole runs


def run_smoke(path: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return move37("run", "--preset", "smoke", "--store", str(path), *more)


SHORT = ("--experiments", "1")


def same_records(a: Path, b: Path) -> bool:
    ours, theirs = records(a), records(b)
    return len(ours) == len(theirs) and all(x.same_as(y) for x, y in zip(ours, theirs, strict=True))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("undisturbed") / "store.sqlite"
    done = run_smoke(path, *SHORT)
    assert done.returncode == 0, done.stderr
    for part in ("Plan:", "core-seconds", "GatedDeltaNet", "Store", "report.html", "Next"):
        assert part in done.stdout
    return path


@pytest.mark.slow
def test_a_run_measures_baselines_and_proposals_at_equal_size(undisturbed: Path) -> None:
    rows = json.loads(
        move37("top", "--json", "--preset", "smoke", "--store", str(undisturbed)).stdout
    )
    sizes = [row["parameters"] for row in rows]
    assert len(rows) >= 6
    assert max(sizes) / min(sizes) <= 1.01
    assert (undisturbed.parent / "report.html").stat().st_size > 10_000


@pytest.mark.slow
@pytest.mark.parametrize(("seconds", "workers"), [(12.0, 1)])
def test_a_run_that_is_killed_goes_on_to_the_same_records_with_any_number_of_workers(
    undisturbed: Path, tmp_path: Path, seconds: float, workers: int
) -> None:
    path = tmp_path / "store.sqlite"
    command = [sys.executable, "-m", "move37.cli", "run", "--preset", "smoke", "--store", str(path)]
    command += SHORT
    killed = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    time.sleep(seconds)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    assert run_smoke(path, *SHORT, "--workers", str(workers)).returncode == 0
    assert same_records(path, undisturbed)


@pytest.mark.slow
def test_a_run_that_is_finished_says_so_and_does_nothing(undisturbed: Path) -> None:
    before = records(undisturbed)
    done = run_smoke(undisturbed, *SHORT)
    assert done.returncode == 0
    assert "All 6 experiments, 5 of them baselines, are in" in done.stdout
    assert records(undisturbed) == before


@pytest.mark.slow
def test_ctrl_c_stops_at_once_and_says_how_to_go_on(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    # Around the tests it may be ignored, as behind `nohup`.
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    program = f"{heard}; from move37.cli import main; main()"
    command = [sys.executable, "-c", program, "run", "--preset", "smoke", "--store", str(path)]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert run.stdout is not None
    assert any("fitness" in line for line in run.stdout)  # the heading: experiments have begun
    run.send_signal(signal.SIGINT)
    # A bound against hanging, not a measurement: the machine may have other work.
    _, told = run.communicate(timeout=60)
    assert run.returncode == 130
    assert "the same command goes on from there" in told
    assert "Traceback" not in told


@pytest.mark.slow
def test_step_tells_its_five_steps(undisturbed: Path, tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    shutil.copy(undisturbed, path)
    done = move37("step", "--preset", "smoke", "--store", str(path))
    assert done.returncode == 0, done.stderr
    for step in ("1 sample", "2 propose", "3 verify", "4 train", "5 analyse"):
        assert step in done.stdout
    assert SMOKE_WARNING in done.stdout.partition("5 analyse")[2]
    assert len({r.experiment for r in records(path)}) == 7


@pytest.mark.slow
def test_doctor_finds_everything() -> None:
    done = move37("doctor", "--json")
    assert done.returncode == 0, done.stdout
    assert all(finding["fine"] for finding in json.loads(done.stdout))


def lines_of(done: subprocess.CompletedProcess[str]) -> Sequence[dict[str, object]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.slow
def test_run_as_json_prints_an_object_per_experiment_and_the_leaderboard(
    undisturbed: Path, tmp_path: Path
) -> None:
    path = tmp_path / "store.sqlite"
    shutil.copy(undisturbed, path)
    lines = lines_of(run_smoke(path, "--experiments", "2", "--json"))
    assert set(lines[0]) == {"records", "lesson", "warnings"}
    assert set(lines[-1]) == {"leaderboard", "warnings"}
    assert all(SMOKE_WARNING in line["warnings"][0] for line in lines)  # type: ignore[index]


# ---------------------------------------------------------------- verify

CHEATS = Path(__file__).parent / "cheats"
HONEST = Path(__file__).parent / "honest" / "shifts_tokens.py"


def test_verify_of_an_honest_mixer_is_exit_status_0() -> None:
    done = move37("verify", str(HONEST), "--quick")
    assert done.returncode == 0, done.stderr
    assert "causality" in done.stdout
    assert "failed" not in done.stdout


def test_verify_of_a_cheat_is_exit_status_1_and_names_the_check() -> None:
    done = move37("verify", str(CHEATS / "future_mean.py"), "--quick", "--json")
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert not told["passed"]
    assert told["mixer"] == "FutureMean"
    failed = [check["check"] for check in told["checks"] if check["verdict"] == "failed"]
    assert failed == ["causality", "prefix"]


def test_verify_goes_on_after_a_check_that_raises() -> None:
    cheat = CHEATS / "single_token_loses_its_dimension.py"
    done = move37("verify", str(cheat), "--quick", "--json")
    checks = {check["check"]: check for check in json.loads(done.stdout)["checks"]}
    assert "raises RuntimeError" in checks["gradients"]["evidence"]
    assert list(checks)[-1] == "chunking"


def test_verify_with_only_runs_only_these() -> None:
    done = move37("verify", str(HONEST), "--only", "prefix", "--only", "interface", "--json")
    assert [c["check"] for c in json.loads(done.stdout)["checks"]] == ["interface", "prefix"]


LAYER = """
class {name}(nn.Module):
    def __init__(self, dim, *, heads):
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD):
        {before}
        return self.project(x_BTD)
"""


def program(*names: str, before: str = "pass") -> str:
    return "import torch\nfrom torch import nn\n" + "".join(
        LAYER.format(name=name, before=before) for name in names
    )


# Ends the process of a program that reaches for nothing: the calls of C go too deep.
ENDS = """
from itertools import chain

def end():
    links = ()
    for _ in range(10**6):
        links = chain(links, ())
    next(links)
"""


def test_verify_takes_the_class_that_is_named(tmp_path: Path) -> None:
    file = tmp_path / "two.py"
    file.write_text(program("First", "Second"))
    done = move37("verify", f"{file}:Second", "--only", "interface", "--json")
    assert json.loads(done.stdout)["mixer"] == "Second"


def test_verify_of_one_of_several_has_to_be_told_which(tmp_path: Path) -> None:
    file = tmp_path / "two.py"
    file.write_text(program("First", "Second"))
    done = move37("verify", str(file))
    assert done.returncode == 2
    assert "found First, Second" in done.stderr


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "cannot read"),
        ("def f(:", "SyntaxError"),
        ("x = 1", "expected one public nn.Module class"),
        ("import numpy", "imports numpy"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
def test_verify_of_what_cannot_be_run_is_exit_status_2(
    text: str | None, told: str, tmp_path: Path
) -> None:
    file = tmp_path / "layer.py"
    if text is not None:
        file.write_text(text)
    done = move37("verify", str(file))
    assert done.returncode == 2
    assert told in done.stderr


def test_verify_refuses_a_check_that_does_not_exist() -> None:
    done = move37("verify", str(HONEST), "--only", "causal")
    assert done.returncode == 2
    assert "no check 'causal': expected one of interface," in done.stderr


def test_verify_survives_a_mixer_that_ends_its_process(tmp_path: Path) -> None:
    file = tmp_path / "ends.py"
    file.write_text(ENDS + program("Ends", before="end()"))
    done = move37("verify", str(file), "--quick")
    assert done.returncode == 1
    assert "the process was killed: SIGSEGV" in done.stdout


def test_verify_keeps_the_verdicts_from_before_the_process_ended(tmp_path: Path) -> None:
    file = tmp_path / "ends.py"
    file.write_text(ENDS + program("Ends", before="x_BTD.shape[1] == 1024 and end()"))
    done = move37("verify", str(file), "--quick", "--json")
    assert done.returncode == 1
    checks = json.loads(done.stdout)["checks"]
    assert [check["verdict"] for check in checks[:8]] == ["passed"] * 8
    ended = next(check["check"] for check in checks if check["verdict"] == "failed")
    assert ended == "sub-quadratic"


def test_verify_of_what_runs_out_of_time_is_exit_status_1(tmp_path: Path) -> None:
    file = tmp_path / "endless.py"
    file.write_text("while True: pass")
    done = move37("verify", str(file), "--timeout", "1")
    assert done.returncode == 1
    assert "ran out of time after 1 s at line 1: while True: pass" in done.stdout


def test_verify_of_what_is_not_offered_proves_nothing() -> None:
    done = move37("verify", str(HONEST), "--only", "decoding,padding", "--json")
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert [check["verdict"] for check in told["checks"]] == ["not offered"] * 2
    assert not told["passed"]


def test_verify_of_a_size_that_the_mixer_refuses_is_exit_status_2(tmp_path: Path) -> None:
    file = tmp_path / "layer.py"
    refuses = "assert dim % heads == 0\n        super()"
    file.write_text(program("Layer").replace("super()", refuses))
    done = move37("verify", str(file), "--dim", "64", "--heads", "3")
    assert done.returncode == 2
    assert "build with width 64, 3 heads" in done.stderr


def descendants(process: int) -> set[int]:
    """The processes below one, read from /proc."""
    found, parents = set(), {process}
    while parents:
        children = set()
        for parent in parents:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
                for file in Path(f"/proc/{parent}/task").glob("*/children"):
                    children |= set(map(int, file.read_text().split()))
        found |= children
        parents = children
    return found


def is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_verify_that_is_stopped_ends_its_processes_and_says_so(
    tmp_path: Path, number: signal.Signals
) -> None:
    file = tmp_path / "slow.py"
    file.write_text(program("Slow", before="while True: x_BTD = x_BTD + 0"))
    # Around the tests it may be ignored, as behind `nohup`.
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{heard}; from move37.cli import main; main()"
    command = [sys.executable, "-c", code, "verify", str(file)]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as run:
        while len(below := descendants(run.pid)) < 4:  # zygote, warden, main and the program's
            assert run.poll() is None
            time.sleep(0.01)
        run.send_signal(number)
        _, message = run.communicate(timeout=60)  # a bound against hanging, not a measurement
    assert run.returncode == 130
    assert message.splitlines() == [
        f"move37: stopped after 0 of 16 checks: the processes of {file} are ended"
    ]
    assert [process for process in below if is_running(process)] == []


def test_a_second_run_on_one_store_is_refused_and_changes_nothing(
    store: Path, tmp_path: Path
) -> None:
    path = shutil.copy(store, tmp_path / "store.sqlite")
    with Store.open(Path(path)) as first:
        first.lock()
        before = first.records()
        second = move37("run", "--preset", "smoke", "--store", str(path))
        assert second.returncode == 2
        assert "another run is using" in second.stderr
        assert first.records() == before


def test_a_report_that_the_disk_does_not_take_is_said_and_is_exit_status_1(
    store: Path, tmp_path: Path
) -> None:
    path = Path(shutil.copy(store, tmp_path / "store.sqlite"))
    (tmp_path / "report.html").mkdir()  # what is there cannot be replaced
    done = run_smoke(path, "--experiments", "6")
    assert done.returncode == 1
    assert "the report could not be written" in done.stderr
    assert same_records(path, store)


# ---------------------------------------------------------------- language models


@pytest.fixture
def model() -> Iterator[Server]:
    """A language model on loopback that always answers with the same program."""
    with Server(told(7), models=listed("scripted")) as server:
        yield server


@pytest.fixture
def nobody() -> str:
    """The name of a model behind an address where nothing answers."""
    with Server() as server:
        return f"{server.url}#scripted"


@pytest.mark.slow
def test_a_language_model_proposes_and_its_costs_are_shown(
    store: Path, tmp_path: Path, model: Server
) -> None:
    path, tape = Path(shutil.copy(store, tmp_path / "store.sqlite")), tmp_path / "tape"
    name = f"{model.url}#scripted"
    roles = "roles=researcher+engineer"
    asked = ("--experiments", "7", "--model", f"{name},input=1,output=2,{roles}")
    done = run_smoke(path, *asked, "--record", str(tape))
    assert done.returncode == 0, done.stderr
    last = records(path)[-1]
    assert last.candidate.proposal.origin == name
    assert isinstance(last.outcome, Measured)
    assert last.provenance.model == name
    assert last.provenance.prompt_version.startswith("researcher 2 ")
    costs = json.loads(move37("costs", "--store", str(path), "--json").stdout)
    assert [(row["role"], row["calls"]) for row in costs["costs"]] == [("researcher", 1)]
    assert costs["answers_of_no_use"] == []
    assert "researcher" in move37("costs", "--store", str(path)).stdout
    # The same from the cassette, with nobody to ask.
    again = Path(shutil.copy(store, tmp_path / "again.sqlite"))
    replayed = run_smoke(again, *asked, "--replay", str(tape))
    assert replayed.returncode == 0, replayed.stderr
    assert "--replay" not in replayed.stdout  # what goes on from here is not on the tape
    assert same_records(again, path)
    assert (len(model.requests), len(model.looks)) == (1, 1)


LEAKS = """from torch import Tensor, nn


class LooksAhead(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD) + x_BTD.mean(dim=1, keepdim=True)
"""


@pytest.mark.slow
def test_a_program_that_the_lab_proves_to_leak_goes_to_the_engineer_with_the_evidence(
    store: Path, tmp_path: Path
) -> None:
    path = Path(shutil.copy(store, tmp_path / "store.sqlite"))
    leaking = f"Name: LooksAhead\nMotivation: A mean.\n\n```python\n{LEAKS}```\n"
    steps = (refusal(429, "slow", retry_after="0"), refusal(500, "oops"), answer(leaking), told(7))
    with Server(*steps, models=listed("scripted")) as server:
        name = f"{server.url}#scripted,input=1,output=2,roles=researcher+engineer"
        done = run_smoke(path, "--experiments", "7", "--workers", "1", "--model", name)
    assert done.returncode == 0, done.stderr
    refused, repaired = records(path)[-2:]
    assert isinstance(refused.outcome, Rejected)
    assert refused.outcome.check == "causality"
    assert refused.outcome.evidence in str(server.requests[-1].body)
    assert (repaired.experiment, repaired.step) == (refused.experiment, 1)
    assert isinstance(repaired.outcome, Measured)
    costs = json.loads(move37("costs", "--store", str(path), "--json").stdout)["costs"]
    assert [(row["role"], row["calls"], row["failed"]) for row in costs] == [
        ("engineer", 1, 0),
        ("researcher", 3, 2),
    ]


@pytest.mark.slow
def test_a_limit_of_dollars_ends_the_run_before_anything_is_spent(
    store: Path, tmp_path: Path, model: Server
) -> None:
    path = Path(shutil.copy(store, tmp_path / "store.sqlite"))
    named = f"{model.url}#scripted,input=1,output=2,roles=researcher+engineer"
    # What is known of a call beforehand fits, the whole of it does not.
    limit = ("--model", named, "--max-dollars", "0.034")
    done = run_smoke(path, "--experiments", "7", *limit)
    assert done.returncode == 1
    assert "--max-dollars leaves no room: $0.0000 of $0.0340 are spent" in done.stderr
    assert "stopped after 6 of 7 proposals (and 5 baselines): they are kept in" in done.stderr
    assert model.requests == []
    assert same_records(path, store)


def test_a_new_run_whose_model_is_not_there_is_refused_before_anything_is_written(
    tmp_path: Path, nobody: str
) -> None:
    done = run_smoke(tmp_path / "store.sqlite", "--model", nobody)
    refused(done, f"{nobody}: no answer: .* start its server, or correct the address")
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_goes_on_is_refused_where_its_model_is_not_there(
    store: Path, tmp_path: Path, nobody: str
) -> None:
    path = Path(shutil.copy(store, tmp_path / "store.sqlite"))
    refused(run_smoke(path, "--experiments", "7", "--model", nobody), f"{nobody}: no answer: ")
    assert same_records(path, store)


def test_a_finished_run_needs_no_model(store: Path, tmp_path: Path, nobody: str) -> None:
    path = Path(shutil.copy(store, tmp_path / "store.sqlite"))
    done = run_smoke(path, "--experiments", "6", "--model", nobody)
    assert (done.returncode, "All 11 experiments, " in done.stdout) == (0, True)


def test_a_run_whose_key_is_refused_is_refused_and_the_key_is_not_told(tmp_path: Path) -> None:
    key = "sk-SECRET-0123456789"
    with Server(models=refusal(401, f"bad key {key}")) as server:
        name = f"{server.url}#scripted,key_env=SCRIPTED_KEY"
        asked = ("--preset", "smoke", "--store", str(tmp_path / "store.sqlite"), "--model", name)
        done = move37("run", *asked, env={**WIDE, "SCRIPTED_KEY": key})
    refused(done, r"answers 401 bad key \*\*\*: check the key in SCRIPTED_KEY")
    assert "SECRET" not in done.stdout + done.stderr


@pytest.mark.slow
def test_a_run_whose_model_is_not_listed_says_so_and_goes_on(store: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(store, tmp_path / "store.sqlite"))
    with Server(told(7), models=listed("another")) as server:
        name = f"{server.url}#scripted"
        asked = ("--model", f"{name},input=1,output=2,roles=researcher+engineer")
        done = run_smoke(path, "--experiments", "7", *asked)
    assert done.returncode == 0, done.stderr
    first = done.stdout.splitlines()[0]
    assert first.startswith(f"{name}: answers without a key; its list of models has no scripted,")


def asked(store: Path, folder: Path) -> Path:
    """The same run, with a call of a model and an answer of no use."""
    path = Path(shutil.copy(store, folder / "store.sqlite"))
    with Store.open(path) as opened:
        opened.append_call(Call("researcher", "openai:x", 30_000, 4_567, 9.0, 0.12, 6, ""))
        opened.append_fallback(Fallback("judge", "openai:x", 6, "Expected a number."))
    return path


def test_the_end_of_a_run_names_the_models_and_what_they_took(store: Path, tmp_path: Path) -> None:
    path = asked(store, tmp_path)
    limited = ("--model", "http://127.0.0.1:1/v1#m", "--max-dollars", "1")
    done = run_smoke(path, "--experiments", "6", *limited)
    assert (
        "\nModels  openai:x: 1 call, 34,567 tokens, $0.1200 of $1.0000, 1 answer of no use\n"
        in done.stdout
    )
    assert f"costs --preset smoke --store {path} " in done.stdout


def test_the_end_of_an_offline_run_names_no_models(store: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(store, tmp_path / "store.sqlite"))
    assert "Models" not in run_smoke(path, "--experiments", "6").stdout


def test_a_narrow_terminal_does_not_break_the_name_of_a_model(store: Path, tmp_path: Path) -> None:
    path, name = Path(shutil.copy(store, tmp_path / "store.sqlite")), f"http://{'x' * 70}/v1#m"
    with Store.open(path) as opened:
        opened.append_call(Call("judge", name, 30, 4, 9.0, None, 6, ""))
        opened.append_fallback(Fallback("judge", name, 6, "Expected a number."))
    told = move37("costs", "--store", str(path), env={**WIDE, "COLUMNS": "80"}).stdout
    assert told.count(name) == 2


def test_costs_list_the_proposals_that_could_not_be_used_with_the_other_answers(
    store: Path, tmp_path: Path
) -> None:
    path = asked(store, tmp_path)
    with Store.open(path) as opened:
        proposal = Proposal("Unread", "An answer.", "prose", "openai:x")
        outcome = Rejected("answer", "Expected a program.")
        last = opened.records()[-1]
        mine = replace(last, experiment=11, candidate=Candidate.of(proposal), outcome=outcome)
        opened.append([replace(mine, step=0)])
    costs = json.loads(move37("costs", "--store", str(path), "--json").stdout)
    useless = [(one["role"], one["experiment"]) for one in costs["answers_of_no_use"]]
    assert useless == [("judge", 6), ("researcher", 11)]


def test_costs_of_an_offline_run_are_none(store: Path) -> None:
    assert "No language model was asked" in move37("costs", "--store", str(store)).stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--model", "gpt"], "expected a model as openai:NAME"),
        (["--max-dollars", "3"], "expected --model NAME beside the options"),
        (["--judge-share", "0.5"], "needs a model that plays the role 'judge'"),
        (["--model", "openai:gpt", "--judge-share", "2"], "expected --judge-share from 0 to 1"),
        (["--model", "openai:gpt"], "expected its key in OPENAI_API_KEY"),
        (["--model", "http://10.0.0.1/v1#m", "--max-dollars", "1"], "needs the price of"),
        (["--model", "http://10.0.0.1/v1#m", "--replay", "/nowhere"], "expected a cassette"),
    ],
)
def test_words_about_models_that_are_not_understood_are_refused_before_anything_is_measured(
    tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    plain = {name: value for name, value in WIDE.items() if not name.endswith("_API_KEY")}
    path = tmp_path / "store.sqlite"
    done = move37("run", "--preset", "smoke", "--store", str(path), *arguments, env=plain)
    refused(done, sentence)
