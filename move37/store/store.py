"""The experiment store: records and lessons, appended and never changed. SQLite in WAL mode.

The store is the only state of a run: what is not in it did not happen. One experiment is written
in one transaction, so that a killed run leaves whole experiments only.

One run has the store for itself; beside each other may work those that submit programs. Each of
them claims its program, and gets its number as it writes: so nothing is lost, and nothing doubled.

Each row has a checksum (see `checksums`), and whoever reads it notices that it was changed.
"""

import contextlib
import fcntl
import json
import os
import re
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO, TypeVar
from urllib.parse import quote

import sqlalchemy as sql

from move37.records import (
    Call,
    Fallback,
    InputError,
    Judgement,
    Lesson,
    Record,
    RunFailed,
    from_json,
    to_json,
)
from move37.store import checking, checksums, tables
from move37.store.checking import StoreReport
from move37.store.checksums import Checksums, Key, Sum, digest_of
from move37.store.claims import Bytes

VERSION = 1
BUSY_SECONDS = 60.0  # to wait for another process that writes

T = TypeVar("T")

# Made when the first program is submitted. A row counts while its process holds the byte of its
# number: see `Bytes`.
_claims = sql.Table(
    "claims",
    sql.MetaData(),
    sql.Column("number", sql.Integer, primary_key=True),  # from 1
    sql.Column("program", sql.String, nullable=False),
    sql.Column("name", sql.String, nullable=False),
)
_NEW_RECORD, _NEW_LESSON = (
    tables.records.insert(),
    tables.lessons.insert(),
)  # made once: it takes a while
_START = 0  # the byte of whoever measures the baselines


@dataclass(frozen=True)
class Claim:
    """A program that somebody is measuring at the moment."""

    number: int
    program: str  # a text that is the same for programs that are the same
    name: str


class Store:
    """An open store. Safe for several readers, and for one run or several that submit."""

    def __init__(self, path: Path, engine: sql.Engine) -> None:
        self.path = path
        self._engine = engine
        self._writer: sql.Connection | None = None  # kept from the first time that we write
        self._writes = threading.Lock()
        self._lock: TextIO | None = None
        self._bytes: Bytes | None = None
        self._has_checksums = False  # True: their table is there, or made in this transaction

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @classmethod
    def open(cls, path: Path, *, create: bool = False, write: bool = True) -> "Store":
        """Opens the store at `path`; without `write`, for reading only.

        Raises InputError, and changes nothing, if it is missing (unless `create`), unreadable,
        no database, or written by a newer version.
        """
        if not path.exists() and not create:
            raise InputError(
                f"no store at {path}: expected the file that `move37 run` or a submit writes"
            )
        if path.is_dir():
            raise InputError(f"{path} is a folder: expected the path of a store file")
        if not path.parent.is_dir():
            raise InputError(f"the folder {path.parent} does not exist: create it first")
        # In a folder that cannot be written nobody else writes either, so nothing can change.
        fixed = "" if os.access(path.parent, os.W_OK) else "&immutable=1"
        mode = "rwc" if create else "rw" if write else f"ro{fixed}"
        place = f"file:{quote(str(path.absolute()))}?mode={mode}"

        def connect() -> sqlite3.Connection:
            # Transactions are begun by us: sqlite3 would begin them too late, and lose the race.
            # A connection is used by one thread at a time, which need not be the one that made it.
            return sqlite3.connect(
                place,
                uri=True,
                timeout=BUSY_SECONDS,
                isolation_level=None,
                check_same_thread=False,
            )

        engine = sql.create_engine(
            "sqlite://",
            creator=connect,
            poolclass=sql.pool.QueuePool,
            hide_parameters=True,  # no error shows a piece of a record
        )
        sql.event.listen(engine, "connect", _pragmas)
        sql.event.listen(engine, "begin", _begin)
        try:
            if create and _is_empty(engine):
                _create(engine)
            _check_version(engine, path)
        except sql.exc.DatabaseError as error:
            engine.dispose()
            raise InputError(_explain(path, error)) from None
        except InputError:
            engine.dispose()
            raise
        return cls(path, engine)

    def lock(self) -> None:
        """Takes the store for one run; raises InputError while anybody else has it.

        The lock ends with the process, however it ends.
        """
        if self._take(fcntl.LOCK_EX):
            return
        if self._take(fcntl.LOCK_SH):
            assert self._lock is not None
            fcntl.flock(self._lock, fcntl.LOCK_UN)
            raise InputError(
                f"programs that were submitted to {self.path} are being measured: wait for them, "
                "or use another store"
            )
        raise InputError(f"another run is using {self.path}: wait for it, or use another store")

    def share(self) -> None:
        """Takes the store beside others that submit; raises InputError while a run has it."""
        if not self._take(fcntl.LOCK_SH):
            raise InputError(
                f"a run is using {self.path}: wait for it or stop it, or use another store"
            )
        self._bytes = Bytes(self._bytes_path)

    def _take(self, kind: int) -> bool:
        if self._lock is None:
            # Held open until close: the lock lives as long as the file is open.
            self._lock = open(f"{self.path}.lock", "w")  # noqa: SIM115
        try:
            fcntl.flock(self._lock, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    @property
    def _bytes_path(self) -> Path:
        return Path(f"{self.path}.claims")

    def close(self) -> None:
        """Releases the file and the lock."""
        with self._writes:  # another thread may be writing
            self._close_writer()
        self._engine.dispose()
        for held in (self._lock, self._bytes):
            if held is not None:
                held.close()

    @contextlib.contextmanager
    def starting(self) -> Iterator[None]:
        """Waits until no other that submits is within; needs `share`."""
        assert self._bytes is not None
        self._bytes.wait_for(_START)
        try:
            yield
        finally:
            self._bytes.let_go(_START)

    @contextlib.contextmanager
    def claim(self, program: str, name: str) -> Iterator[Claim]:
        """Keeps the program for us within; needs `share`.

        Raises InputError while somebody else has the same one.
        """
        assert self._bytes is not None
        with self._writing("a claim") as link:
            _claims.create(link, checkfirst=True)
            for claim in _claims_in(link):
                if not self._bytes.is_held(claim.number):  # its process has ended
                    _forget(link, claim)
                elif claim.program == program:
                    raise InputError(
                        f"the same program is being measured now, as {claim.name}: wait for its "
                        "result, or submit another one"
                    )
            row = link.execute(_claims.insert(), {"program": program, "name": name})
            mine = Claim(int(row.inserted_primary_key[0]), program, name)  # type: ignore[index]
            self._bytes.hold(mine.number)
        try:
            yield mine
        finally:
            with self._writing("the end of a claim") as link:
                _forget(link, mine)
                self._bytes.let_go(mine.number)  # before others see that the number is free

    def claims(self) -> list[Claim]:
        """Returns the programs that others are measuring at the moment."""
        try:
            others = Bytes(self._bytes_path, create=False)
        except FileNotFoundError:
            return []
        with contextlib.closing(others), self._engine.connect() as link:
            if not sql.inspect(link).has_table(_claims.name):
                return []
            return [claim for claim in _claims_in(link) if others.is_held(claim.number)]

    def append(self, records: Sequence[Record], lessons: Sequence[Lesson] = ()) -> None:
        """Writes the records and lessons of one experiment: all of them, or none.

        Raises sqlalchemy's IntegrityError if one of them is there already.
        """
        with self._writing(f"experiment {records[0].experiment}") as link:
            _insert(link, records, lessons)

    def append_next(self, records: Sequence[Record], lesson: Lesson) -> tuple[list[Record], Lesson]:
        """Writes an experiment behind all that are there; returns it with the number that it got.

        All of it is written, or nothing.
        """
        with self._writing("an experiment") as link:
            last = link.scalar(sql.select(sql.func.max(tables.records.c.experiment)))
            number = 0 if last is None else last + 1
            numbered = [replace(record, experiment=number) for record in records]
            told = replace(lesson, experiment=number)
            _insert(link, numbered, [told])
        return numbered, told

    def records(self) -> list[Record]:
        """Returns all records, in the order of experiments."""
        return self._read(Record, tables.records)

    def lessons(self) -> list[Lesson]:
        """Returns all lessons, in the order of experiments."""
        return self._read(Lesson, tables.lessons)

    def append_call(self, call: Call) -> None:
        """Writes one request to a language model."""
        self._append_late(tables.calls, call)

    def calls(self, *, after: int = 0) -> list[Call]:
        """Returns the requests to language models, in order, but for so many first ones."""
        return self._read_late(Call, tables.calls, after)

    def append_judgement(self, judgement: Judgement) -> None:
        """Writes what a language model thinks of a candidate."""
        self._append_late(tables.judgements, judgement)

    def judgements(self) -> list[Judgement]:
        """Returns all judgements, in order."""
        return self._read_late(Judgement, tables.judgements)

    def append_fallback(self, fallback: Fallback) -> None:
        """Writes that a language model's answer was of no use."""
        self._append_late(tables.fallbacks, fallback)

    def fallbacks(self) -> list[Fallback]:
        """Returns the answers that were of no use, in order."""
        return self._read_late(Fallback, tables.fallbacks)

    def _append_late(self, table: sql.Table, item: Call | Judgement | Fallback) -> None:
        with self._writing(f"a {type(item).__name__.lower()} of a language model") as link:
            table.create(link, checkfirst=True)
            body = to_json(item)
            row = link.execute(table.insert(), {"body": body})
            key = Key(int(row.inserted_primary_key[0]))  # type: ignore[index]
            digest = digest_of(table.name, key, [body])
            checksums.add(link, table.name, [Sum(key, item.experiment, digest)])

    def _read_late(self, kind: type[T], table: sql.Table, after: int = 0) -> list[T]:
        try:
            with self._engine.connect() as link:
                if not sql.inspect(link).has_table(table.name):
                    return []
                query = sql.select(table.c.number, table.c.body)  # from 1, no gaps
                query = query.where(table.c.number > after).order_by(table.c.number)
                rows = [(Key(number), [body]) for number, body in link.execute(query)]
                kept = Checksums.read(link, table.name, after=after)
        except sql.exc.DatabaseError as error:
            raise InputError(_explain(self.path, error)) from None
        return self._decoded(kind, table.name, rows, kept)

    def check(self) -> StoreReport:
        """Looks at every row; returns what is changed, missing or cannot be read.

        Raises InputError if the file itself cannot be read to its end.
        """
        try:
            with self._engine.connect() as link:
                raw = link.connection.driver_connection
                assert raw is not None
                # Else a text that is no UTF-8 would end the reading, and not be named.
                raw.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
                try:
                    return checking.check(link)
                finally:
                    raw.text_factory = str
        except sql.exc.DatabaseError as error:
            raise InputError(_explain(self.path, error)) from None

    def settings(self) -> dict[str, Any]:
        """Returns what the run was started with; empty before the first run."""
        with self._engine.connect() as link:
            value = link.scalar(
                sql.select(tables.meta.c.value).where(tables.meta.c.key == "settings")
            )
            kept = Checksums.read(link, tables.meta.name).take(tables.SETTINGS)
        if kept is not None and kept.digest != digest_of(
            tables.meta.name, tables.SETTINGS, [value]
        ):
            raise InputError(f"{self.path} is damaged: its settings are not as they were written")
        try:
            settings: dict[str, Any] = json.loads(value) if value else {}
        except ValueError:
            raise InputError(f"{self.path} is damaged: its settings cannot be read") from None
        return settings

    def check_settings(self, settings: dict[str, Any]) -> None:
        """Raises InputError if a run was started here with other settings."""
        before = self.settings()
        differing = [f"{key} {before[key]!r}" for key in before if before[key] != settings.get(key)]
        if differing:
            raise InputError(
                f"{self.path} was started with {', '.join(differing)}: "
                "go on with the same settings, or use another store"
            )

    def keep_settings(self, settings: dict[str, Any]) -> None:
        """Writes what the run is started with; raises InputError if it was started otherwise."""
        self.check_settings(settings)
        if not self.settings():
            with self._writing("the settings") as link:
                value = json.dumps(settings)
                link.execute(tables.meta.insert(), {"key": "settings", "value": value})
                digest = digest_of(tables.meta.name, tables.SETTINGS, [value])
                checksums.add(link, tables.meta.name, [Sum(tables.SETTINGS, None, digest)])

    @contextlib.contextmanager
    def _writing(self, what: str) -> Iterator[sql.Connection]:
        """A transaction that writes; the world's failures (a full disk) are said clearly."""
        try:
            with self._writes:
                if self._writer is None:
                    self._writer = self._engine.connect().execution_options(writes=True)
                try:
                    with self._writer.begin():
                        if not self._has_checksums:
                            _create_checksums(self._writer)
                            self._has_checksums = True
                        yield self._writer
                except BaseException:  # Ctrl-C may leave it within a transaction
                    self._has_checksums = False  # their table may have been made in it
                    self._close_writer()
                    raise
        except sql.exc.OperationalError as error:
            raise RunFailed(
                f"{what} could not be written to {self.path} ({error.orig}). All before it is "
                "kept: mend the cause, and the same command goes on from there"
            ) from None

    def _close_writer(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _read(self, kind: type[T], table: sql.Table) -> list[T]:
        keys = list(table.primary_key.columns)
        columns = [one for one in table.columns if not one.primary_key]
        query = sql.select(*keys, *columns).order_by(*keys)
        try:
            with self._engine.connect() as link:
                found = link.execute(query).all()
                kept = Checksums.read(link, table.name)
        except sql.exc.DatabaseError as error:
            raise InputError(_explain(self.path, error)) from None
        rows = ((Key(*row[: len(keys)]), row[len(keys) :]) for row in found)
        return self._decoded(kind, table.name, rows, kept)

    def _decoded(
        self,
        kind: type[T],
        table: str,
        rows: Iterable[tuple[Key, Sequence[object]]],
        kept: Checksums,
    ) -> list[T]:
        """Returns what rows hold, the body last; raises InputError unless they are as written."""
        found = []
        for key, columns in rows:
            checksum = kept.take(key)
            if checksum is not None and checksum.digest != digest_of(table, key, columns):
                raise InputError(
                    self._damaged(table, key, checksum.experiment, f"is {tables.CHANGED}")
                )
            try:
                found.append(from_json(kind, tables.text_of(columns[-1])))
            except ValueError as error:
                told = f"cannot be read ({error})"
                raise InputError(self._damaged(table, key, None, told)) from None
        if missing := kept.left:
            first = missing[0]
            raise InputError(self._damaged(table, first.key, first.experiment, "is missing"))
        return found

    def _damaged(self, table: str, key: Key, experiment: int | None, what: str) -> str:
        return (
            f"{self.path} is damaged: {tables.row_name(table, key, experiment)} {what}: "
            "`move37 store check` finds all that is; go on with a copy of before, or another store"
        )


def _create_checksums(link: sql.Connection) -> None:
    there = set(sql.inspect(link).get_table_names())
    numbers = {
        name: next(iter(table.primary_key.columns))
        for name, table in tables.TABLES.items()
        if name in there
    }
    checksums.create(link, tables.meta, numbers)


def _insert(link: sql.Connection, records: Sequence[Record], lessons: Sequence[Lesson]) -> None:
    rows = [
        {
            "experiment": record.experiment,
            "step": record.step,
            "candidate": record.candidate.id,
            "outcome": type(record.outcome).__name__,
            "body": to_json(record),
        }
        for record in records
    ]
    link.execute(_NEW_RECORD, rows)
    checksums.add(link, tables.records.name, [_sum_of(tables.records, row) for row in rows])
    if lessons:
        rows = [{"experiment": one.experiment, "body": to_json(one)} for one in lessons]
        link.execute(_NEW_LESSON, rows)
        checksums.add(link, tables.lessons.name, [_sum_of(tables.lessons, row) for row in rows])


def _sum_of(table: sql.Table, row: Mapping[str, Any]) -> Sum:
    """Returns the checksum of a row of records or lessons."""
    key = Key(*(row[one.name] for one in table.primary_key.columns))
    content = [row[one.name] for one in table.columns if not one.primary_key]
    return Sum(key, key.number, digest_of(table.name, key, content))


def _claims_in(link: sql.Connection) -> list[Claim]:
    rows = link.execute(sql.select(_claims).order_by(_claims.c.number)).all()
    return [Claim(row.number, row.program, row.name) for row in rows]


def _forget(link: sql.Connection, claim: Claim) -> None:
    link.execute(_claims.delete().where(_claims.c.number == claim.number))


def _pragmas(connection: sqlite3.Connection, _: Any) -> None:
    connection.execute("PRAGMA synchronous=FULL")


def _begin(link: sql.Connection) -> None:
    writes = link.get_execution_options().get("writes", False)
    link.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _is_empty(engine: sql.Engine) -> bool:
    """Says whether nothing was written yet, or a run was killed before anything was."""
    with engine.connect() as link:
        return link.exec_driver_sql("SELECT 1 FROM sqlite_master LIMIT 1").first() is None


def _create(engine: sql.Engine) -> None:
    with engine.connect() as link:
        raw = link.connection.driver_connection
        assert raw is not None
        raw.rollback()  # the mode cannot change within a transaction
        raw.execute("PRAGMA journal_mode=WAL")  # kept in the file
    with engine.execution_options(writes=True).begin() as link:
        tables.METADATA.create_all(link)
        there = link.scalar(sql.select(tables.meta.c.value).where(tables.meta.c.key == "version"))
        if there is None:  # another process may have been quicker
            link.execute(tables.meta.insert(), {"key": "version", "value": str(VERSION)})


def _check_version(engine: sql.Engine, path: Path) -> None:
    with engine.connect() as link:
        value = link.scalar(sql.select(tables.meta.c.value).where(tables.meta.c.key == "version"))
    if not isinstance(value, str) or not re.fullmatch(r"[0-9]{1,9}", value):
        raise InputError(f"{path} is no move37 store, or is damaged: it has no version")
    if int(value) > VERSION:
        raise InputError(
            f"{path} was written by a newer move37 (store version {value}, this one reads "
            f"{VERSION}): update move37"
        )


def _explain(path: Path, error: sql.exc.DatabaseError) -> str:
    told = str(error.orig)
    if "decode to UTF-8" in told:  # it goes on with the text
        return f"{path} is damaged: a text in it is no UTF-8: `move37 store check` says where"
    if "not a database" in told or "malformed" in told or "no such table" in told:
        return f"{path} is no move37 store, or is damaged ({told}): use another store"
    if "readonly" in told or "unable to open" in told or "permission" in told:
        return f"{path} cannot be written ({told}): check the rights of its folder"
    return f"{path} cannot be used: {told}"
