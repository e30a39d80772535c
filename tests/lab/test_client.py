"""However a child ends, an outcome comes back, and nothing of it stays."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from move37.lab import client
from move37.lab.client import Lab
from move37.loop import assignment
from move37.presets import CHECKS, SMOKE
from move37.records import Assignment, Crashed, InputError, Measured, Outcome, Rejected
from tests.lab.ungated import TAKE_OUT, Ungated

DELTA_NET = SMOKE.reference.proposal().source
CHEATS = Path(__file__).parent.parent / "cheats"
# How a program comes by what it may not import, where no gate stands before it.
REACH = "import torch\nreach = vars(torch)['importlib'].import_module\n"
# The lab as it is where the system has no sandbox.
UNCONFINED = f"""{TAKE_OUT}
import sys
from move37.lab import family, zygote
family.confine = lambda what: []
zygote.main(int(sys.argv[1]))
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        yield lab


@pytest.fixture(scope="module")
def ungated() -> Iterator[Lab]:
    with Ungated() as lab:
        yield lab


@pytest.fixture(scope="module")
def unconfined() -> Iterator[Lab]:
    popen = subprocess.Popen

    def start(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        return popen([sys.executable, "-P", "-c", UNCONFINED, command[-1]], **options)

    with Lab() as lab:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(subprocess, "Popen", start)
            lab.examine(work("x = 1"))  # starts it
        yield lab


LACKING = """
import sys
from move37.lab import zygote
from move37.lab.sandbox import Layer
zygote.probe = lambda: [Layer("files", False, "the kernel has no Landlock")]
zygote.main(int(sys.argv[1]))
"""


@pytest.fixture
def without_landlock(monkeypatch: pytest.MonkeyPatch) -> None:
    popen = subprocess.Popen

    def start(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        return popen([sys.executable, "-P", "-c", LACKING, command[-1]], **options)

    monkeypatch.setattr(subprocess, "Popen", start)


@pytest.mark.usefixtures("without_landlock")
def test_a_strict_lab_that_lacks_a_layer_examines_nothing_however_often_it_is_asked() -> None:
    with Lab(strict=True) as lab:
        for _ in range(2):
            with pytest.raises(InputError, match="the sandbox lacks files: the kernel has no"):
                lab.examine(work("x = 1"))


@pytest.mark.parametrize(("path", "kept"), [(client.ROOT, client.ROOT), ("/elsewhere", None)])
def test_the_lab_runs_the_copy_of_the_code_that_started_it(
    path: str, kept: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", path)
    assert client._environment().get("PYTHONPATH") == kept


@pytest.mark.usefixtures("without_landlock")
def test_a_lab_that_lacks_a_layer_warns_once() -> None:
    told: list[str] = []
    with Lab(warn=told.append) as lab:
        for _ in range(2):
            lab.examine(work("x = 1"))
    assert len(told) == 1
    assert told[0].startswith("The sandbox lacks files: the kernel has no Landlock")


def work(source: str, *, seconds: float = 60, **changes: object) -> Assignment:
    made = assignment(SMOKE, source, seeds=(), checks=("interface",))
    return replace(made, limit_seconds=seconds, **changes)  # type: ignore[arg-type]


def crashed(outcome: Outcome) -> Crashed:
    assert isinstance(outcome, Crashed), outcome
    return outcome


def test_an_honest_mixer_is_measured_on_every_task_and_seed(lab: Lab) -> None:
    outcome = lab.examine(assignment(SMOKE, DELTA_NET, seeds=(0, 1)))
    assert isinstance(outcome, Measured)
    assert [check.check for check in outcome.checks] == list(CHECKS)
    measured = [(m.seed, m.task) for m in outcome.measurements]
    assert measured == [(seed, b.task) for seed in (0, 1) for b in SMOKE.budgets]


def test_the_same_assignment_gives_the_same_numbers_in_another_child(lab: Lab) -> None:
    one, two = (lab.examine(assignment(SMOKE, DELTA_NET, seeds=(3,))) for _ in range(2))
    assert isinstance(one, Measured)
    assert isinstance(two, Measured)
    assert [m.curve for m in one.measurements] == [m.curve for m in two.measurements]


def test_stages_are_told_as_they_begin(lab: Lab) -> None:
    stages: list[str] = []
    lab.examine(assignment(SMOKE, DELTA_NET, seeds=(0,)), stages.append)
    assert stages[0] == "load"
    assert "verify: causality" in stages
    assert "train: recall, seed 0" in stages


def test_a_cheat_is_rejected_with_its_evidence(lab: Lab) -> None:
    source = (CHEATS / "future_mean.py").read_text()
    outcome = lab.examine(assignment(SMOKE, source, seeds=(0,)))
    assert isinstance(outcome, Rejected)
    assert outcome.check == "causality"
    assert "hears input" in outcome.evidence


def test_a_quadratic_baseline_is_measured_by_declaration(lab: Lab) -> None:
    softmax = next(b for b in SMOKE.baselines if b.excused)
    source = softmax.proposal().source
    refused = lab.examine(assignment(SMOKE, source, seeds=()))
    allowed = lab.examine(assignment(SMOKE, source, seeds=(), excused=softmax.excused))
    assert isinstance(refused, Rejected)
    assert refused.check == "sub-quadratic"
    assert isinstance(allowed, Measured)
    assert [c.check for c in allowed.checks if c.verdict == "failed"] == ["sub-quadratic"]


TOO_LARGE = """
from torch import nn
class Large(nn.Module):
    def __init__(self, dim, *, heads):
        super().__init__()
        self.project = nn.Linear(dim, 100 * dim)
        self.back = nn.Linear(100 * dim, dim)
    def forward(self, x):
        return self.back(self.project(x))
"""


def test_a_mixer_that_leaves_no_room_for_the_mlp_is_rejected(lab: Lab) -> None:
    outcome = lab.examine(assignment(SMOKE, TOO_LARGE, seeds=(0,)))
    assert isinstance(outcome, Rejected)
    assert outcome.check == "fits"
    assert "has room for at most" in outcome.evidence


NOT_A_NUMBER_IN_TRAINING = """
import torch
from torch import nn
class Brittle(nn.Module):
    def __init__(self, dim, *, heads):
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.count = 0
    def forward(self, x):
        self.count += self.training
        return self.project(x) * (float("nan") if self.count > 1 else 1.0)
"""


def test_a_loss_that_is_no_number_is_a_rejection(lab: Lab) -> None:
    outcome = lab.examine(assignment(SMOKE, NOT_A_NUMBER_IN_TRAINING, seeds=(0,), checks=()))
    assert isinstance(outcome, Rejected)
    assert outcome.check == "trainable"
    assert "loss was nan" in outcome.evidence


def test_a_program_without_a_mixer_is_rejected_with_what_is_expected(lab: Lab) -> None:
    outcome = lab.examine(work("x = 1"))
    assert isinstance(outcome, Rejected)
    assert "expected one public nn.Module class" in outcome.evidence


ENDINGS = {
    "an exception": ("raise ValueError('no')", "load", "ValueError: no"),
    "a syntax error": ("def f(:", "load", "SyntaxError"),
    "an exit": ("os = reach('os'); os._exit(0)", "load", "ended by itself: exit status 0"),
    "sys.exit": ("sys = reach('sys'); sys.exit(0)", "load", "SystemExit: 0"),
    "a segmentation fault": (
        "os, signal = reach('os'), reach('signal'); os.kill(os.getpid(), signal.SIGSEGV)",
        "load",
        "was killed: SIGSEGV",
    ),
    "an endless loop": ("while True: pass", "load", "time limit"),
    "a long sleep": ("time = reach('time'); time.sleep(99)", "load", "time limit"),
    "a deaf loop": (
        "signal = reach('signal')\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: pass",
        "load",
        "time limit",
    ),
    "a flood on stdout": ("while True: print('x' * 10000)", "load", "time limit"),
    "a flood on its pipe": (
        "os = reach('os')\nfor fd in range(3, 30):\n"
        '    try:\n        while True: os.write(fd, b\'{"stage": "x"}\\n\' * 1000)\n'
        "    except OSError: pass",
        "x",
        "said more than 4 MiB",
    ),
    "garbage on its pipe": (
        "os = reach('os')\nfor fd in range(3, 30):\n"
        "    try: os.write(fd, b'garbage\\n')\n    except OSError: pass",
        "load",
        "said what no examination says",
    ),
    "too much memory": ("import torch; torch.zeros(10**10)", "load", "limit of memory is 2 GiB"),
    "deep recursion": ("def f(): f()\nf()", "load", "RecursionError"),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_child_that_ends_badly_is_a_crash_with_stage_and_reason(
    ungated: Lab, ending: str
) -> None:
    source, stage, reason = ENDINGS[ending]
    outcome = crashed(ungated.examine(work(REACH + source, seconds=1.5)))
    assert outcome.stage == stage
    assert reason in outcome.error


def test_the_last_words_of_a_child_that_dies_are_kept(ungated: Lab) -> None:
    source = f"{REACH}print('farewell', flush=True)\nreach('os')._exit(7)"
    outcome = crashed(ungated.examine(work(source)))
    assert "exit status 7" in outcome.error
    assert "farewell" in outcome.error


def test_a_reply_that_claims_what_cannot_be_is_a_crash(ungated: Lab) -> None:
    forged = (
        f"{REACH}os = reach('os')\nfor fd in range(3, 30):\n"
        """    try: os.write(fd, b'{"outcome": {"type": "Measured"}}\\n')\n"""
        "    except OSError: pass"
    )
    assert "said what no examination says" in crashed(ungated.examine(work(forged))).error


def _alive(mark: str) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (folder / "cmdline").read_text() and int(folder.name) != os.getpid():
                found.append(int(folder.name))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return found


FORKS = (
    REACH
    + """
os, subprocess = reach("os"), reach("subprocess")
for _ in range(20):
    subprocess.Popen(["sleep", "{mark}"], start_new_session=True)
if os.fork() == 0:
    os.setsid()
    os.execvp("sleep", ["sleep", "{mark}"])
while True: pass
"""
)


@pytest.mark.skipif(sys.platform != "linux", reason="finds orphans through /proc")
def test_what_a_child_started_is_gone_with_it(unconfined: Lab) -> None:
    mark = f"86400.{os.getpid()}"
    crashed(unconfined.examine(work(FORKS.format(mark=mark), seconds=2)))
    deadline = time.monotonic() + 2
    while _alive(mark) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert _alive(mark) == []


def test_a_crash_leaves_the_lab_as_it_was(ungated: Lab) -> None:
    ungated.examine(work(f"{REACH}reach('os')._exit(1)"))
    assert isinstance(ungated.examine(work(DELTA_NET)), Measured)


KILLS_ITS_WARDEN = (
    REACH
    + """
os, subprocess = reach("os"), reach("subprocess")
subprocess.Popen(["sleep", "{mark}"], start_new_session=True)
os.kill(os.getppid(), 9)
while True: pass
"""
)


@pytest.mark.skipif(sys.platform != "linux", reason="finds orphans through /proc")
def test_a_child_that_kills_its_warden_is_a_crash_and_leaves_nothing(unconfined: Lab) -> None:
    mark = f"86402.{os.getpid()}"
    outcome = crashed(unconfined.examine(work(KILLS_ITS_WARDEN.format(mark=mark), seconds=30)))
    assert "watches over the child is gone" in outcome.error
    deadline = time.monotonic() + 4
    while _alive(mark) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert _alive(mark) == []


def test_a_fork_bomb_is_ended_before_its_time(unconfined: Lab) -> None:
    bomb = f"{REACH}os = reach('os')\nwhile True: os.fork()"
    started = time.monotonic()
    outcome = crashed(unconfined.examine(work(bomb, seconds=60)))
    assert "more than 64 processes" in outcome.error
    assert time.monotonic() - started < 30


FORGED = (
    REACH
    + """
os, json = reach("os"), reach("json")
check = dict(type="CheckResult", check="interface", verdict="passed", evidence="x", seconds=0)
measured = dict(type="Measured", checks=[check], measurements=[])
for fd in range(3, 30):
    try: os.write(fd, json.dumps({said}).encode() + b"\\n")
    except OSError: pass
os._exit(0)
"""
)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("dict(outcome=measured)", "no Rejected or Crashed"),
        ("dict(checks=[])", "checks: expected ('interface',), got ()"),
        ("dict(checks=[measured])", "no CheckResult"),
        ("dict(checks=1)", "no list: 1"),
    ],
)
def test_a_reply_that_does_not_answer_the_question_is_a_crash(
    ungated: Lab, said: str, reason: str
) -> None:
    assert reason in crashed(ungated.examine(work(FORGED.format(said=said)))).error


@pytest.mark.parametrize(
    ("line", "evidence"),
    [
        ("import socket", "line 1 imports socket"),
        ("from subprocess import run", "line 1 imports subprocess"),
        ("from move37.train import trainer", "line 1 imports move37.train"),
        ("import torch\nx = torch.ones(1).numpy()", "line 2 calls numpy"),
    ],
)
def test_what_a_program_may_not_import_is_named(lab: Lab, line: str, evidence: str) -> None:
    outcome = lab.examine(work(line))
    assert isinstance(outcome, Rejected)
    assert outcome.check == "imports"
    assert evidence in outcome.evidence


def test_what_a_child_says_can_be_stored_and_printed(lab: Lab) -> None:
    told = crashed(lab.examine(work("raise ValueError('\\ud800 \\x1b[31m red')"))).error
    told.encode()
    assert "\x1b" not in told


@pytest.mark.parametrize(
    ("cheat", "check"),
    [
        ("leaks_after_training_only", "causality"),
        ("leaks_in_the_scored_precision_only", "causality"),
        ("leaks_at_the_scored_shape_only", "causality"),
        ("grows_while_it_is_trained", "fits"),
    ],
)
def test_a_cheat_that_waits_for_the_score_is_found_there(lab: Lab, cheat: str, check: str) -> None:
    source = (CHEATS / f"{cheat}.py").read_text()
    budgets = tuple(replace(budget, tokens=3 * budget.tokens) for budget in SMOKE.budgets)
    outcome = lab.examine(assignment(SMOKE, source, seeds=(0,), budgets=budgets))
    assert isinstance(outcome, Rejected), outcome
    assert outcome.check == check
    assert "train" in outcome.evidence


def test_a_closed_lab_starts_nothing_any_more() -> None:
    lab = Lab()
    lab.close()
    with pytest.raises(RuntimeError, match="closed"):
        lab.examine(work(DELTA_NET))


OFFICE = """
from move37.lab.client import Lab
from move37.loop import assignment
from move37.presets import SMOKE
lab = Lab()
work = assignment(SMOKE, "while True: pass", seeds=(), checks=())
lab.examine(work, lambda stage: print(lab._process.pid, flush=True))
"""


def _descendants(process: int) -> list[int]:
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [process, *(one for child in children for one in _descendants(int(child)))]


@pytest.mark.skipif(sys.platform != "linux", reason="finds descendants through /proc")
def test_a_killed_office_takes_its_lab_along() -> None:
    with subprocess.Popen([sys.executable, "-c", OFFICE], stdout=subprocess.PIPE) as office:
        assert office.stdout is not None
        lab = _descendants(int(office.stdout.readline()))
        office.send_signal(signal.SIGKILL)
    assert len(lab) == 4  # the zygote, a warden, the one that measures, the program's
    deadline = time.monotonic() + 5
    while (left := [one for one in lab if Path(f"/proc/{one}").exists()]) != []:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)
