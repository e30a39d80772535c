"""Who works on a store, and what becomes of those that died."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from move37.records import InputError, Lesson
from move37.store.store import Store
from tests.search.builders import record


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite"


def shared(path: Path) -> Store:
    store = Store.open(path, create=True)
    store.share()
    return store


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with shared(path) as store:
        yield store


def names(path: Path) -> list[str]:
    with Store.open(path, write=False) as store:
        return [claim.name for claim in store.claims()]


def test_a_claim_is_seen_while_it_lasts(store: Store, path: Path) -> None:
    with store.claim("a", "A"):
        assert names(path) == ["A"]
    assert names(path) == []


def test_two_may_have_two_programs_at_once(store: Store, path: Path) -> None:
    with shared(path) as other, store.claim("a", "A"), other.claim("b", "B"):
        assert names(path) == ["A", "B"]


def test_a_program_that_another_has_is_refused(store: Store, path: Path) -> None:
    with shared(path) as other, store.claim("a", "A"):
        with (
            pytest.raises(InputError, match="is being measured now, as A: wait"),
            other.claim("a", "Mine"),
        ):
            pass
        assert names(path) == ["A"]


def test_a_program_is_free_again_afterwards(store: Store, path: Path) -> None:
    for _ in range(2):
        with shared(path) as other, other.claim("a", "A"):
            pass
    with store.claim("a", "A"):
        assert names(path) == ["A"]


CLAIM = """
import pathlib, sys, time
from move37.store.store import Store
with Store.open(pathlib.Path(sys.argv[1]), create=True) as store:
    store.share()
    with store.claim("a", "Dead"), store.starting():
        print("claimed", flush=True)
        time.sleep(600)
"""


def test_the_claim_of_a_process_that_was_killed_holds_nobody_up(path: Path) -> None:
    command = [sys.executable, "-c", CLAIM, str(path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "claimed\n"
    assert names(path) == ["Dead"]
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert names(path) == []
    with shared(path) as store, store.claim("a", "Next"), store.starting():
        assert names(path) == ["Next"]


def test_a_run_refuses_while_programs_are_measured(store: Store, path: Path) -> None:
    with Store.open(path) as run:
        with pytest.raises(InputError, match=r"that were submitted to .* are being measured: wait"):
            run.lock()
        store.close()
        run.lock()


def test_a_program_is_refused_while_a_run_has_the_store(path: Path) -> None:
    with Store.open(path, create=True) as run:
        run.lock()
        with (
            Store.open(path) as store,
            pytest.raises(InputError, match=r"a run is using .*: wait for it or stop it"),
        ):
            store.share()


def test_the_number_is_that_behind_all_that_are_there(store: Store) -> None:
    lesson = Lesson(99, "id", "text", "weak")
    for number in range(3):
        records, told = store.append_next([record("Echo", experiment=99)], lesson)
        assert ([one.experiment for one in records], told.experiment) == ([number], number)
    assert [one.experiment for one in store.records()] == [0, 1, 2]


def test_a_store_without_claims_has_none(path: Path) -> None:
    with Store.open(path, create=True) as store:
        assert store.claims() == []
