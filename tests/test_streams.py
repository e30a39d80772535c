"""Commands whose output goes nowhere, and machines that lack what the lab needs."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from move37 import limits
from move37.records import InputError
from tests.test_cli import HONEST, WIDE
from tests.test_cli import store as store

COMMAND = f"{sys.executable} -m move37.cli"
READING = [
    "top --store {store}",
    "top --json --store {store}",
    "show 7 --store {store}",
    "show 7 --json --store {store}",
    "tree --store {store}",
    "tree --json --store {store}",
    "lessons --store {store}",
    "lessons --json --store {store}",
    "costs --store {store}",
    "mixers",
    "mixers GLA",
    "mixers --json",
    "brief --preset smoke",
    "version",
    "--version",
    "--help",
    "run --help",
]
reading = pytest.mark.parametrize("command", READING)


def shell(line: str) -> subprocess.CompletedProcess[str]:
    """Runs a line of shell; with `pipefail`, the status is that of the first that fails."""
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", line],
        capture_output=True,
        text=True,
        env=WIDE,
        timeout=300,
    )


@reading
def test_a_reader_that_closes_its_end_is_no_failure(store: Path, command: str) -> None:
    # It closes before anything comes, so that every write fails.
    line = f"({COMMAND} {command.format(store=store)}; echo $? >&2) | true"
    assert shell(line).stderr == "0\n"


def test_top_behind_head_ends_well(store: Path) -> None:
    done = shell(f"{COMMAND} top --store {store} | head -1")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 1


@reading
def test_a_full_disk_behind_the_output_is_one_sentence_and_exit_status_2(
    store: Path, command: str
) -> None:
    done = shell(f"{COMMAND} {command.format(store=store)} > /dev/full")
    assert done.returncode == 2
    (sentence,) = done.stderr.splitlines()
    assert sentence.startswith(
        "move37: the output cannot be written (No space left on device): what follows is lost"
    )


def test_verify_has_its_verdict_as_exit_status_also_behind_a_closed_pipe() -> None:
    cheat = HONEST.parent.parent / "cheats" / "future_mean.py"
    line = f"({COMMAND} verify {cheat} --only causality --quick; echo $? >&2) | true"
    assert shell(line).stderr.splitlines()[-1] == "1"


def test_a_closed_standard_output_is_refused_before_anything_starts(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    done = shell(f"{COMMAND} run --preset smoke --store {path} >&-")
    assert done.returncode == 2
    assert done.stderr.startswith("move37: standard output is closed: expected a terminal, a file")
    assert not path.exists()


@pytest.mark.parametrize("where", ["/dev/full", "&-"])
def test_an_error_stream_that_fails_changes_no_exit_status(store: Path, where: str) -> None:
    assert shell(f"{COMMAND} top --store {store} 2>{where}").returncode == 0
    assert shell(f"{COMMAND} top --store {store}.none 2>{where}").returncode == 2


def test_a_closed_input_is_no_failure(store: Path) -> None:
    assert shell(f"{COMMAND} top --store {store} <&-").returncode == 0


# ---------------------------------------------------------------- what the machine leaves


@pytest.mark.parametrize(
    ("kilobytes", "command", "expected"),
    [
        (200_000, "top --store {store}", "0.2 GiB of address space: expected at least 0.3 GiB"),
        (600_000, f"verify {HONEST} --quick", "0.6 GiB of address space: expected at least 5.0"),
        (2_000_000, "run --preset smoke --store {store}.new", "expected at least 3.0 GiB"),
        (2_000_000, "submit nowhere.py", "cannot read nowhere.py"),
    ],
)
def test_too_little_address_space_is_one_sentence_and_exit_status_2(
    store: Path, kilobytes: int, command: str, expected: str
) -> None:
    done = shell(f"ulimit -v {kilobytes}; {COMMAND} {command.format(store=store)}")
    assert done.returncode == 2
    (sentence,) = done.stderr.splitlines()
    assert expected in sentence
    assert not Path(f"{store}.new").exists()


def test_the_address_space_that_is_asked_for_is_enough() -> None:
    line = f"ulimit -v {5 << 20}; {COMMAND} verify {HONEST} --quick --only interface"
    assert shell(line).returncode == 0


NOWHERE = "import tempfile; tempfile._candidate_tempdir_list = lambda: ['/nowhere']; "


@pytest.mark.parametrize(
    "command",
    [["verify", str(HONEST)], ["run", "--preset", "smoke"], ["step", "--preset", "smoke"]],
)
def test_no_folder_for_temporary_files_is_one_sentence_and_exit_status_2(
    tmp_path: Path, command: list[str]
) -> None:
    code = f"{NOWHERE}from move37.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *command],
        capture_output=True,
        text=True,
        env={**WIDE, "PYTHONPATH": str(Path(__file__).parent.parent)},
        cwd=tmp_path,
        timeout=300,
    )
    assert done.returncode == 2
    (sentence,) = done.stderr.splitlines()
    assert sentence.startswith("move37: no folder for temporary files can be written (No usable")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_for_temporary_files_is_found_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    limits.check_lab(0)
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [os.devnull])
    with pytest.raises(InputError, match="name another in TMPDIR"):
        limits.check_lab(0)
