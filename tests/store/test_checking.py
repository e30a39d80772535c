"""A row that was changed, cut off, taken away or moved is found, and nothing of it is shown."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sql
from typer.testing import CliRunner

from move37.cli import app
from move37.records import Call, Fallback, InputError, Judgement, Lesson
from move37.store.checking import Damage, StoreReport
from move37.store.store import Store
from tests.search.builders import record

SECRET = "a word that no message shows"
EXPERIMENTS = 6


def fill(store: Store, *, start: int = 0, end: int = EXPERIMENTS) -> None:
    """Writes experiments of two records and a lesson each, and notes about them."""
    for number in range(start, end):
        first = record("Echo", experiment=number, program=f"mix = {number}  # {SECRET}")
        second = record("Foxtrot", experiment=number, step=1)
        lesson = Lesson(number, first.candidate.id, SECRET, "recall is weak")
        store.append([first, second], [lesson])
        store.append_call(Call("judge", SECRET, 20, 10, 0.5, None, number, ""))
        store.append_judgement(Judgement(number, "abc", SECRET, 3, 5.0, 6.5, 9.0, 2.0))
        store.append_fallback(Fallback("analyst", SECRET, number, SECRET))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite"


@pytest.fixture
def filled(path: Path) -> Path:
    with Store.open(path, create=True) as store:
        store.keep_settings({"preset": SECRET})
        fill(store)
    return path


def edit(path: Path, *statements: str) -> None:
    """Does what a disk, or a stray hand, may do."""
    link = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        link.execute(statement)
    link.close()


def without_checksums(path: Path) -> None:
    """Makes the store one of an older version."""
    edit(path, "DROP TABLE checksums", "DELETE FROM meta WHERE key = 'checksums'")


def checked(path: Path) -> StoreReport:
    with Store.open(path, write=False) as store:
        return store.check()


def only(path: Path) -> Damage:
    """Returns the one damage that is found."""
    (damage,) = checked(path).damages
    return damage


def found(path: Path) -> list[tuple[str, int | None, int | None, str]]:
    """Returns all damages, without their messages."""
    return [(one.table, one.experiment, one.step, one.fault) for one in checked(path).damages]


def flip(table: str, where: str) -> str:
    """Changes one character within the text of a row; it stays JSON."""
    return f"UPDATE {table} SET body = replace(body, 'a word', 'a ward') WHERE {where}"


READERS: dict[str, Callable[[Store], object]] = {
    "records": Store.records,
    "lessons": Store.lessons,
    "calls": Store.calls,
    "judgements": Store.judgements,
    "fallbacks": Store.fallbacks,
}
WHERE = {"records": "experiment = 3 AND step = 0", "lessons": "experiment = 3"}


# ---------------------------------------------------------------- a store as it was written


def test_nothing_is_found_in_a_store_as_it_was_written(filled: Path) -> None:
    assert checked(filled).damages == ()


def test_every_row_has_a_checksum(filled: Path) -> None:
    counts = {one.table: (one.rows, one.with_checksum) for one in checked(filled).counts}
    many = (EXPERIMENTS, EXPERIMENTS)
    notes = dict.fromkeys(["lessons", "calls", "judgements", "fallbacks"], many)
    assert counts == {"records": (2 * EXPERIMENTS, 2 * EXPERIMENTS)} | notes


def test_a_transaction_that_fails_leaves_no_checksum(path: Path) -> None:
    with Store.open(path, create=True) as store:
        store.append([record("Echo", experiment=0)])
        with pytest.raises(sql.exc.IntegrityError):
            store.append([record("Foxtrot", experiment=n) for n in (1, 0)])
    assert checked(path).damages == ()


def test_a_first_transaction_that_fails_leaves_a_store_that_can_be_written(path: Path) -> None:
    with Store.open(path, create=True) as store:
        with pytest.raises(sql.exc.IntegrityError):
            store.append([record("Foxtrot", experiment=0), record("Foxtrot", experiment=0)])
        store.append([record("Echo", experiment=0)])
    assert checked(path).damages == ()


def test_experiments_may_be_written_in_any_order(path: Path) -> None:
    with Store.open(path, create=True) as store:
        for number in (2, 0, 1):
            store.append([record("Echo", experiment=number)])
    assert checked(path).damages == ()


# ---------------------------------------------------------------- what is found


@pytest.mark.parametrize("table", READERS)
def test_one_changed_character_is_found(filled: Path, table: str) -> None:
    edit(filled, flip(table, WHERE.get(table, "number = 4")))
    damage = only(filled)
    assert (damage.table, damage.experiment, damage.fault) == (table, 3, "changed")


@pytest.mark.parametrize("table", READERS)
def test_one_changed_character_is_noticed_by_whoever_reads(filled: Path, table: str) -> None:
    edit(filled, flip(table, WHERE.get(table, "number = 4")))
    with (
        Store.open(filled) as store,
        pytest.raises(InputError, match=r"experiment 3.* is not as it was written: `move37 store"),
    ):
        READERS[table](store)


@pytest.mark.parametrize("table", READERS)
def test_a_row_that_was_taken_away_is_found(filled: Path, table: str) -> None:
    edit(filled, f"DELETE FROM {table} WHERE {WHERE.get(table, 'number = 4')}")
    damage = only(filled)
    assert (damage.table, damage.experiment, damage.fault) == (table, 3, "missing")


@pytest.mark.parametrize("table", READERS)
def test_a_row_that_was_taken_away_is_noticed_by_whoever_reads(filled: Path, table: str) -> None:
    edit(filled, f"DELETE FROM {table} WHERE {WHERE.get(table, 'number = 4')}")
    with Store.open(filled) as store, pytest.raises(InputError, match=r"experiment 3.* is missing"):
        READERS[table](store)


def test_the_last_experiment_is_missed_too(filled: Path) -> None:
    edit(filled, f"DELETE FROM records WHERE experiment = {EXPERIMENTS - 1}")
    assert found(filled) == [("records", EXPERIMENTS - 1, step, "missing") for step in (0, 1)]


def test_two_rows_that_changed_places_are_found(filled: Path) -> None:
    edit(
        filled,
        "UPDATE records SET experiment = 99 WHERE experiment = 1 AND step = 0",
        "UPDATE records SET experiment = 1 WHERE experiment = 4 AND step = 0",
        "UPDATE records SET experiment = 4 WHERE experiment = 99",
    )
    assert found(filled) == [("records", n, 0, "changed") for n in (1, 4)]


def test_a_body_that_was_put_into_another_row_is_found(filled: Path) -> None:
    body = "(SELECT body FROM lessons WHERE experiment = 2)"
    edit(filled, f"UPDATE lessons SET body = {body} WHERE experiment = 5")
    assert found(filled) == [("lessons", 5, None, "changed")]


@pytest.mark.parametrize("value", ["'FoxtrotX'", "NULL", "5", "x'7b7d'"])
@pytest.mark.parametrize("column", ["candidate", "outcome", "body"])
def test_each_column_counts_whatever_stands_in_it(filled: Path, column: str, value: str) -> None:
    names = "experiment, step, candidate, outcome, body"
    edit(
        filled,  # a copy that takes NULL
        f"CREATE TABLE copy AS SELECT {names} FROM records",
        "DROP TABLE records",
        "ALTER TABLE copy RENAME TO records",
        f"UPDATE records SET {column} = {value} WHERE experiment = 2 AND step = 1",
    )
    assert ("records", 2, 1, "changed") in found(filled)


def test_a_text_that_is_no_utf8_is_found(filled: Path) -> None:
    broken = "CAST(x'ff' || CAST(body AS BLOB) AS TEXT)"
    edit(filled, f"UPDATE records SET body = {broken} WHERE experiment = 2 AND step = 1")
    assert found(filled) == [("records", 2, 1, "changed")]


def test_settings_that_were_changed_are_found(filled: Path) -> None:
    edit(filled, "UPDATE meta SET value = '{}' WHERE key = 'settings'")
    assert found(filled) == [("meta", None, None, "changed")]


def test_settings_that_were_changed_are_noticed_by_whoever_reads(filled: Path) -> None:
    edit(filled, "UPDATE meta SET value = '{}' WHERE key = 'settings'")
    with Store.open(filled) as store, pytest.raises(InputError, match="settings are not as they"):
        store.settings()


def test_a_checksum_that_was_taken_away_is_found(filled: Path) -> None:
    edit(filled, "DELETE FROM checksums WHERE kind = 'records' AND number = 4 AND step = 1")
    assert found(filled) == [("records", 4, 1, "without checksum")]


# ---------------------------------------------------------------- a store of an older version


def test_a_store_of_an_older_version_is_said_to_have_no_checksums(filled: Path) -> None:
    without_checksums(filled)
    report = checked(filled)
    assert (report.has_checksums, report.damages) == (False, ())
    assert "no checksums, since an older version wrote it" in report.description


def test_a_store_of_an_older_version_is_read(filled: Path) -> None:
    without_checksums(filled)
    with Store.open(filled, write=False) as store:
        assert len(store.records()) == 2 * EXPERIMENTS
        assert store.settings() == {"preset": SECRET}


def test_what_is_written_behind_an_older_version_has_checksums(filled: Path) -> None:
    without_checksums(filled)
    with Store.open(filled) as store:
        fill(store, start=EXPERIMENTS, end=EXPERIMENTS + 2)
        assert len(store.records()) == 2 * EXPERIMENTS + 4
    report = checked(filled)
    counts = {one.table: (one.rows, one.with_checksum) for one in report.counts}
    assert (counts["records"], report.damages) == ((2 * EXPERIMENTS + 4, 4), ())
    edit(filled, flip("records", f"experiment = {EXPERIMENTS}"))
    assert found(filled) == [("records", EXPERIMENTS, 0, "changed")]


def test_rows_behind_an_older_version_cannot_pass_for_old_ones(filled: Path) -> None:
    without_checksums(filled)
    with Store.open(filled) as store:
        fill(store, start=EXPERIMENTS, end=EXPERIMENTS + 2)
    edit(filled, f"DELETE FROM checksums WHERE kind = 'lessons' AND number = {EXPERIMENTS + 1}")
    assert found(filled) == [("lessons", EXPERIMENTS + 1, None, "without checksum")]


OLD = {
    "cut off": (
        "UPDATE records SET body = substr(body, 1, 200) WHERE experiment = 2 AND step = 1",
        ("records", 2, 1, "unreadable"),
    ),
    "another program": (flip("records", "experiment = 2"), ("records", 2, 0, "misplaced")),
    "a body of another row": (
        "UPDATE lessons SET body = (SELECT body FROM lessons WHERE experiment = 1) "
        "WHERE experiment = 2",
        ("lessons", 2, None, "misplaced"),
    ),
    "an experiment left out": (
        "DELETE FROM records WHERE experiment = 2",
        ("records", 2, None, "missing"),
    ),
    "a step left out": (
        "DELETE FROM records WHERE experiment = 2 AND step = 0",
        ("records", 2, 0, "missing"),
    ),
    "a call left out": ("DELETE FROM calls WHERE number = 3", ("calls", None, None, "missing")),
}


@pytest.mark.parametrize("fault", OLD)
def test_without_checksums_what_is_no_store_s_is_found(filled: Path, fault: str) -> None:
    statement, damage = OLD[fault]
    without_checksums(filled)
    edit(filled, statement)
    assert found(filled) == [damage]


def test_the_last_old_experiment_is_missed_once_others_are_behind_it(filled: Path) -> None:
    without_checksums(filled)
    with Store.open(filled) as store:
        fill(store, start=EXPERIMENTS, end=EXPERIMENTS + 1)
    edit(filled, f"DELETE FROM records WHERE experiment = {EXPERIMENTS - 1}")
    assert found(filled) == [("records", EXPERIMENTS - 1, None, "missing")]


# ---------------------------------------------------------------- the command


def run(path: Path, *options: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["store", "check", "--store", str(path), *options])
    return result.exit_code, result.output


def test_the_command_ends_with_0_where_all_is_as_it_was_written(filled: Path) -> None:
    status, output = run(filled)
    assert (status, "12 records" in output, "no fault found" in output) == (0, True, True)


def test_the_command_ends_with_1_and_names_the_experiment(filled: Path) -> None:
    edit(filled, flip("records", "experiment = 3"))
    status, output = run(filled)
    assert status == 1
    assert "the record of experiment 3, step 0 is not as it was written" in output


def test_the_command_prints_json(filled: Path) -> None:
    edit(filled, "DELETE FROM calls WHERE number = 4")
    status, output = run(filled, "--json")
    data = json.loads(output)
    assert (status, data["fine"], data["has_checksums"]) == (1, False, True)
    assert data["damages"] == [
        {
            "type": "Damage",
            "table": "calls",
            "experiment": 3,
            "step": None,
            "number": 4,
            "fault": "missing",
            "message": "call 4 of a language model, about experiment 3, is missing",
        }
    ]


def test_a_file_that_cannot_be_read_is_an_input_error(filled: Path) -> None:
    whole = filled.read_bytes()
    filled.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="is damaged"):
        checked(filled)


# ---------------------------------------------------------------- no message shows a piece


DAMAGES = {
    "another type": 'UPDATE records SET body = replace(body, \'"step":\', \'"step":"{s}","x":\')',
    "another key": "UPDATE records SET body = replace(body, '\"step\":', '\"{s}\":')",
    "cut off": "UPDATE records SET body = substr(body, 1, length(body) - 9)",
    "no UTF-8": "UPDATE records SET body = CAST(x'ff' || CAST(body AS BLOB) AS TEXT)",
    "a number": "UPDATE records SET body = 5",
}


@pytest.mark.parametrize("has_checksums", [True, False])
@pytest.mark.parametrize("damage", DAMAGES)
def test_no_message_shows_a_piece_of_a_record(
    filled: Path, damage: str, has_checksums: bool
) -> None:
    if not has_checksums:
        without_checksums(filled)
    edit(filled, DAMAGES[damage].format(s=SECRET))
    with Store.open(filled) as store, pytest.raises(InputError) as error:
        store.records()
    assert "word" not in str(error.value) + run(filled)[1]


def test_an_error_of_the_database_shows_no_piece_of_a_record(filled: Path) -> None:
    again = record("Echo", experiment=1, program=SECRET)
    with Store.open(filled) as store, pytest.raises(sql.exc.IntegrityError) as error:
        store.append([again])
    assert SECRET not in str(error.value)


def test_a_version_that_is_no_number_is_not_shown(filled: Path) -> None:
    edit(filled, f"UPDATE meta SET value = '{SECRET}' WHERE key = 'version'")
    with pytest.raises(InputError, match="has no version") as error:
        Store.open(filled)
    assert SECRET not in str(error.value)


def test_a_version_of_5000_digits_is_none(filled: Path) -> None:
    edit(filled, f"UPDATE meta SET value = '{'9' * 5_000}' WHERE key = 'version'")
    with pytest.raises(InputError, match="has no version"):
        Store.open(filled)
