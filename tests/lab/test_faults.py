"""What the world does to the lab's processes changes no result.

Each process of an examination is killed in each of its stages. Slow twin: the same examination,
undisturbed.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from move37.lab import client
from move37.lab.client import Lab
from move37.loop import assignment
from move37.presets import SMOKE
from move37.records import Assignment, Crashed, Measured, Outcome
from tests.lab.ungated import Ungated

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds processes through /proc")

REACH = "import torch\nos = vars(torch)['importlib'].import_module('os')\n"
STAGES = (
    "verify: interface",
    "train: recall, seed 0, 50%",
    "verify: recall with trained weights",
)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Ungated() as lab:
        yield lab


def work(source: str = SMOKE.reference.proposal().source) -> Assignment:
    recall = next(budget for budget in SMOKE.budgets if budget.task == "recall")
    made = assignment(SMOKE, source, seeds=(0,), checks=("interface",))
    return replace(made, budgets=(recall,), limit_seconds=60)


def timeless(outcome: Outcome) -> Measured:
    assert isinstance(outcome, Measured), outcome
    checks = tuple(replace(check, seconds=0.0) for check in outcome.checks)
    measured = (replace(one, seconds=0.0, peak_bytes=0) for one in outcome.measurements)
    return Measured(checks, tuple(measured))


@pytest.fixture(scope="module")
def undisturbed(lab: Lab) -> Measured:
    return timeless(lab.examine(work()))


def children(process: int) -> list[int]:
    told = Path(f"/proc/{process}/task/{process}/children").read_text()
    return sorted(int(number) for number in told.split())


def process_of(lab: Lab, role: str) -> int:
    """Returns a process of the one examination that is going on, by what it is."""
    assert lab._process is not None
    zygote = lab._process.pid
    warden = children(zygote)[-1]
    main = children(warden)[0]
    while role == "candidate" and len(children(warden)) < 2:
        time.sleep(0.001)  # between two of them
    return {"zygote": zygote, "warden": warden, "main": main}.get(role) or children(warden)[-1]


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("killed", ["zygote", "warden", "main", "candidate"])
def test_a_process_that_is_killed_changes_no_result(
    lab: Lab, undisturbed: Measured, killed: str, stage: str
) -> None:
    victims: list[int] = []

    def kill_once(entered: str) -> None:
        if entered == stage and not victims:
            victims.append(process_of(lab, killed))
            os.kill(victims[0], signal.SIGKILL)

    assert timeless(lab.examine(work(), kill_once)) == undisturbed
    assert len(victims) == 1


def test_a_zygote_that_was_killed_is_started_anew(lab: Lab, undisturbed: Measured) -> None:
    lab.examine(work("x = 1"))
    assert lab._process is not None
    os.kill(lab._process.pid, signal.SIGKILL)
    assert timeless(lab.examine(work())) == undisturbed


def test_a_zygote_that_is_killed_before_it_is_ready_is_started_again(
    undisturbed: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []

    class Popen(subprocess.Popen[bytes]):
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            started.append(self.pid)
            if len(started) == 1:
                self.kill()

    monkeypatch.setattr(subprocess, "Popen", Popen)
    with Lab() as lab:
        assert timeless(lab.examine(work())) == undisturbed
    assert len(started) == 2


def test_a_zygote_that_is_never_ready_is_the_labs_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "START_SECONDS", 0.05)
    with Lab() as lab, pytest.raises(client.LabError, match="importing torch took more than"):
        lab.examine(work())


def test_several_examinations_survive_the_death_of_their_zygote(
    lab: Lab, undisturbed: Measured
) -> None:
    told: list[Measured] = []
    threads = [
        threading.Thread(target=lambda: told.append(timeless(lab.examine(work()))))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    assert lab._process is not None
    os.kill(lab._process.pid, signal.SIGKILL)
    for thread in threads:
        thread.join(60)
    assert told == [undisturbed, undisturbed]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_program_that_kills_itself_every_time_is_a_crash(lab: Lab, number: int) -> None:
    stages: list[str] = []
    outcome = lab.examine(work(f"{REACH}os.kill(os.getpid(), {int(number)})"), stages.append)
    assert isinstance(outcome, Crashed)
    assert f"was killed: {signal.Signals(number).name}" in outcome.error
    assert stages.count("load") == client.ATTEMPTS
    assert outcome.stage == "load"


def test_a_program_that_kills_itself_late_has_no_further_attempt(lab: Lab) -> None:
    """Or else it would have six times the time of others."""
    wait = "os.sys.modules['time'].sleep(1.2)"
    late = f"{REACH}{wait}\nos.kill(os.getpid(), {int(signal.SIGKILL)})"
    stages: list[str] = []
    outcome = lab.examine(replace(work(late), limit_seconds=2), stages.append)
    assert isinstance(outcome, Crashed)
    assert stages.count("load") == 2


def test_a_program_that_ends_otherwise_is_tried_once(lab: Lab) -> None:
    stages: list[str] = []
    outcome = lab.examine(work(f"{REACH}os._exit(3)"), stages.append)
    assert isinstance(outcome, Crashed)
    assert stages.count("load") == 1
