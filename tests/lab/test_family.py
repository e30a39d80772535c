"""The time of an examination is what it would have taken on an idle machine."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from move37.lab import family
from move37.lab.family import Family, scheduled
from move37.lab.sandbox import Confinement


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator["Clock"]:
    clock = Clock(monkeypatch, tmp_path)
    yield clock
    clock.family.control.close()
    clock.family._asking.close()


class Clock:
    """A family of one process, on a machine whose time a test decides."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.now, self.times = 0.0, (0.0, 0.0)
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(family, "scheduled", lambda process: self.times)
        bounds = Confinement(folder, memory_bytes=0, processor_seconds=1.0)
        self.family = Family(bounds, lambda *_: None)
        self.family._members[1] = family._Member(str(folder), 0, 0)

    def after(self, seconds: float, *, ran: float, waited: float) -> float:
        """Returns what is charged after so many seconds more."""
        self.now += seconds
        self.times = (self.times[0] + ran, self.times[1] + waited)
        return self.family.elapsed()


def test_a_process_that_runs_is_charged_for_its_time(clock: Clock) -> None:
    assert clock.after(3, ran=3, waited=0) == 3


def test_a_process_that_sleeps_is_charged_for_its_sleep(clock: Clock) -> None:
    assert clock.after(3, ran=0, waited=0) == 3


def test_a_process_that_waits_for_a_processor_is_not_charged_for_that(clock: Clock) -> None:
    assert clock.after(3, ran=1, waited=2) == 1


def test_threads_that_wait_for_each_other_do_not_stop_the_clock(clock: Clock) -> None:
    assert clock.after(3, ran=3, waited=30) == 3


def test_many_threads_are_not_charged_for_more_than_the_time_that_passed(clock: Clock) -> None:
    assert clock.after(3, ran=90, waited=0) == 3


def test_the_charge_grows(clock: Clock) -> None:
    clock.after(2, ran=1, waited=1)
    assert clock.after(2, ran=2, waited=0) == 3


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="Linux keeps it")
def test_the_kernel_says_how_long_a_process_has_run() -> None:
    sum(range(2_000_000))
    assert scheduled(os.getpid())[0] > 0


def test_of_a_process_that_is_gone_nothing_is_known() -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert scheduled(gone.pid) == (0.0, 0.0)
