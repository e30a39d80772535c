"""The store keeps whole experiments, and says in one sentence what is wrong with a file."""

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sql

from move37.records import Call, InputError, Lesson
from move37.store.store import Store
from tests.search.builders import record, rejected

LESSON = Lesson(3, "abc", "It helped.", "recall is weak", ("recall",), ())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store.open(path, create=True) as store:
        yield store


def test_what_was_appended_is_read_back(store: Store, path: Path) -> None:
    records = [rejected("Echo"), record("Echo", step=1)]
    store.append(records, [LESSON])
    with Store.open(path) as other:
        assert other.records() == records
        assert other.lessons() == [LESSON]


def test_records_come_back_in_the_order_of_experiments(store: Store) -> None:
    for number in (2, 0, 1):
        store.append([record("Echo", experiment=number)])
    assert [r.experiment for r in store.records()] == [0, 1, 2]


def test_an_experiment_is_kept_whole_or_not_at_all(store: Store) -> None:
    store.append([record("Echo", step=1)])
    with pytest.raises(sql.exc.IntegrityError):
        store.append([record("Foxtrot", step=0), record("Foxtrot", step=1)])
    assert [r.candidate.proposal.name for r in store.records()] == ["Echo"]


def test_a_lesson_that_cannot_be_kept_takes_its_records_along(store: Store) -> None:
    store.append([record("Echo", experiment=3)], [LESSON])
    with pytest.raises(sql.exc.IntegrityError):
        store.append([record("Foxtrot", experiment=4)], [LESSON])
    assert len(store.records()) == 1


def test_settings_are_those_of_the_first_run(store: Store) -> None:
    store.keep_settings({"preset": "laptop", "seed": 0})
    store.keep_settings({"preset": "laptop", "seed": 0})
    with pytest.raises(InputError, match="was started with seed 0"):
        store.keep_settings({"preset": "laptop", "seed": 1})
    assert store.settings() == {"preset": "laptop", "seed": 0}


def test_a_second_run_is_told_that_the_store_is_in_use(store: Store, path: Path) -> None:
    store.lock()
    with Store.open(path) as other, pytest.raises(InputError, match="another run is using"):
        other.lock()


def test_the_lock_ends_with_its_holder(path: Path) -> None:
    with Store.open(path, create=True) as first:
        first.lock()
    with Store.open(path) as second:
        second.lock()


def test_calls_are_kept_by_any_thread_and_come_back_in_order(store: Store) -> None:
    call = Call("researcher", "m", 20, 10, 0.5, None, 3, "")
    store.append_call(call)
    other = threading.Thread(target=store.append_call, args=(replace(call, failed="busy"),))
    other.start()
    other.join()
    assert [one.failed for one in store.calls()] == ["", "busy"]
    assert store.calls()[0] == call


def test_a_store_without_calls_has_none(store: Store) -> None:
    assert store.calls() == []


def test_a_store_is_read_while_a_run_writes(store: Store, path: Path) -> None:
    store.lock()
    store.append([record("Echo")])
    with Store.open(path) as reader:
        assert len(reader.records()) == 1


WRITER = """
import sys
from pathlib import Path
from move37.store.store import Store
from tests.search.builders import record
with Store.open(Path(sys.argv[1])) as store:
    for number in range(int(sys.argv[2]), int(sys.argv[2]) + 50):
        store.append([record("Echo", experiment=number)])
"""


def test_several_processes_write_at_once_and_nothing_is_lost(store: Store, path: Path) -> None:
    root = Path(__file__).parents[2]
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(first)], cwd=root)
        for first in (0, 50, 100)
    ]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert [r.experiment for r in store.records()] == list(range(150))


# ---------------------------------------------------------------- bad input


def test_a_missing_store_is_named(path: Path) -> None:
    with pytest.raises(InputError, match="no store at"):
        Store.open(path)
    assert not path.exists()


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        Store.open(tmp_path / "none" / "store.sqlite", create=True)
    assert not (tmp_path / "none").exists()


def test_a_folder_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder"):
        Store.open(tmp_path, create=True)


@pytest.mark.parametrize(
    "content", [b"not a database at all, but text" * 50, b"SQLite format 3\0x"]
)
def test_a_corrupt_file_is_left_as_it_is(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    for create in (False, True):
        with pytest.raises(InputError, match="is no move37 store, or is damaged"):
            Store.open(path, create=create)
    assert path.read_bytes() == content


def test_somebody_elses_database_is_left_as_it_is(path: Path) -> None:
    link = sqlite3.connect(path)
    link.execute("CREATE TABLE theirs (a INT)")
    link.close()
    before = path.read_bytes()
    for create in (False, True):
        with pytest.raises(InputError, match="is no move37 store"):
            Store.open(path, create=create)
    assert path.read_bytes() == before


def test_a_store_of_a_newer_version_is_left_as_it_is(path: Path) -> None:
    Store.open(path, create=True).close()
    link = sqlite3.connect(path)
    link.execute("UPDATE meta SET value = '99' WHERE key = 'version'")
    link.commit()
    link.close()
    before = path.read_bytes()
    for create in (False, True):
        with pytest.raises(InputError, match="written by a newer move37"):
            Store.open(path, create=create)
    assert path.read_bytes() == before


def test_a_record_that_was_tampered_with_is_named(store: Store, path: Path) -> None:
    store.append([record("Echo", experiment=7)])
    link = sqlite3.connect(path)
    link.execute("UPDATE records SET body = '{}'")
    link.commit()
    link.close()
    with pytest.raises(InputError, match="experiment 7"):
        store.records()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="cannot be written"):
        Store.open(tmp_path / "store.sqlite", create=True)
    tmp_path.chmod(0o700)


def test_same_as_sees_through_the_store(store: Store) -> None:
    mine = record("Echo")
    store.append([replace(mine, provenance=replace(mine.provenance, hardware="other"))])
    assert store.records()[0].same_as(mine)
    assert store.records()[0] != mine
