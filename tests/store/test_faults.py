"""What the world does to a store loses no experiment, and is said in one sentence."""

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sql

from move37.records import InputError, RunFailed
from move37.store import store as module
from move37.store.store import Store
from tests.search.builders import record


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store.open(path, create=True) as store:
        yield store


def experiments(store: Store) -> list[int]:
    return [record.experiment for record in store.records()]


def fill(store: Store, end: int, *, start: int = 0) -> None:
    for number in range(start, end):
        store.append([record("Echo", experiment=number)])


def goes_on(store: Store) -> None:
    """All that was appended is there, in order, and the next one can be."""
    kept = experiments(store)
    assert kept == list(range(len(kept)))
    fill(store, len(kept) + 1, start=len(kept))
    assert experiments(store) == list(range(len(kept) + 1))


def limit_pages(store: Store, count: int) -> None:
    """Lets the database grow to so many pages only; a small number means: not any more."""
    with store._writing("a limit") as link:
        link.exec_driver_sql(f"PRAGMA max_page_count={count}")


def test_ctrl_c_as_a_transaction_begins_breaks_no_later_write(store: Store) -> None:
    store.append([record("Echo", experiment=0)])

    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    sql.event.listen(store._engine, "begin", interrupt)  # after our own, which says BEGIN
    with pytest.raises(KeyboardInterrupt):
        store.append([record("Echo", experiment=1)])
    sql.event.remove(store._engine, "begin", interrupt)
    goes_on(store)


def test_the_store_closes_behind_a_thread_that_writes(store: Store) -> None:
    within = threading.Event()

    def write() -> None:
        with store._writing("a record") as link:
            within.set()
            time.sleep(0.1)
            module._insert(link, [record("Echo", experiment=1)], [])

    thread = threading.Thread(target=write)
    thread.start()
    within.wait()
    store.close()
    thread.join()
    with Store.open(store.path) as again:
        assert [one.experiment for one in again.records()] == [1]


def test_a_full_disk_is_said_and_loses_nothing(store: Store) -> None:
    fill(store, 1)
    limit_pages(store, 1)
    with pytest.raises(RunFailed, match=r"database or disk is full.*All before it is kept"):
        fill(store, 1_000, start=1)
    limit_pages(store, 10_000)
    goes_on(store)


@pytest.mark.skipif(os.getuid() != 0 or sys.platform != "linux", reason="mounts a small disk")
def test_a_disk_that_is_really_full_loses_nothing(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(disk)]
    if subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("this system lets nobody mount")
    try:
        with Store.open(disk / "store.sqlite", create=True) as store:
            fill(store, 3)
            with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as filler:
                while True:
                    filler.write(b"x" * 4096)
            with pytest.raises(RunFailed, match="All before it is kept"):
                fill(store, 1_000, start=3)
            (disk / "filler").unlink()
            goes_on(store)
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_store_that_another_process_holds_for_too_long_is_said(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BUSY_SECONDS", 0.05)
    with Store.open(path, create=True) as store:
        fill(store, 2)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(RunFailed, match=r"experiment 2 could not be written.*is locked"):
            store.append([record("Echo", experiment=2)])
        other.execute("ROLLBACK")
        other.close()
        store.append([record("Echo", experiment=2)])
        assert experiments(store) == [0, 1, 2]


@pytest.mark.parametrize("lost", [1, 100, 4_000, 5_000, 20_000])
def test_a_write_that_was_torn_at_the_end_leaves_whole_experiments(
    store: Store, path: Path, tmp_path: Path, lost: int
) -> None:
    fill(store, 12)
    # As the power failed: what was written last is in the log beside the file.
    torn = tmp_path / "torn.sqlite"
    shutil.copy(path, torn)
    log = Path(f"{path}-wal").read_bytes()
    Path(f"{torn}-wal").write_bytes(log[:-lost])
    with Store.open(torn) as after:
        assert len(experiments(after)) < 12
        goes_on(after)


@pytest.mark.parametrize("place", [0.2, 0.5, 0.9])
def test_garbage_in_the_log_leaves_whole_experiments(
    store: Store, path: Path, tmp_path: Path, place: float
) -> None:
    fill(store, 12)
    torn = tmp_path / "torn.sqlite"
    shutil.copy(path, torn)
    log = bytearray(Path(f"{path}-wal").read_bytes())
    start = int(place * len(log))
    log[start : start + 50] = bytes(50)
    Path(f"{torn}-wal").write_bytes(log)
    with Store.open(torn) as after:
        goes_on(after)


def test_a_file_that_was_cut_off_is_said_and_left_as_it_is(store: Store, path: Path) -> None:
    fill(store, 30)
    store.close()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="is damaged"):
        Store.open(path).records()
    assert path.read_bytes() == whole[: len(whole) // 2]
