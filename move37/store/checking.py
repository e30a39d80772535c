"""Looks at every row of a store: which are changed, cut off, missing, or cannot be read?

    row with a checksum      its key and content are those that were written
    checksum without a row   the row is missing
    row without a checksum   where the store is of an older version only: the body can be read, it
                             belongs to its row, a program has its id, no number is left out
    the file itself          SQLite's own check of its pages and indexes

Not covered, of rows without checksums: a change that is as readable as before, and the loss of the
last ones while the store has no checksums at all.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sql

from move37.records import Candidate, Lesson, Record, from_json
from move37.store import checksums, tables
from move37.store.checksums import Checksums, Key, digest_of

AT_ONCE = 500  # rows in memory
MOST_OF_FILE = 10  # faults of the file itself


@dataclass(frozen=True)
class Damage:
    """Something in a store that is not as it was written; shows nothing of the content."""

    table: str  # "" for the file itself
    experiment: int | None  # None: not known, or of none
    step: int | None  # of a record
    number: int | None  # of a row that counts otherwise: a call, a judgement, a fallback
    fault: str  # "changed", "missing", "unreadable", "misplaced", "without checksum", "file"
    message: str


@dataclass(frozen=True)
class TableCount:
    """How many rows of a table were looked at."""

    table: str
    rows: int
    with_checksum: int


@dataclass(frozen=True)
class StoreReport:
    """What came of looking at all rows."""

    has_checksums: bool  # False: the store is of an older version
    counts: tuple[TableCount, ...]
    damages: tuple[Damage, ...]

    @property
    def without_checksum(self) -> int:
        """Returns how many rows have no checksum."""
        return sum(one.rows - one.with_checksum for one in self.counts)

    @property
    def description(self) -> str:
        """Says in one line what was looked at, and how it is."""
        parts = [f"{one.rows:,} {one.table}" for one in self.counts]
        if not self.has_checksums:
            sums = "no checksums, since an older version wrote it"
        elif self.without_checksum:
            sums = f"checksums for all but {self.without_checksum:,} rows"
        else:
            sums = "a checksum for each row"
        many = len(self.damages)
        found = f"{many:,} fault{'s' * (many != 1)} found" if many else "no fault found"
        return f"{', '.join(parts)}; {sums}; {found}"


def check(link: sql.Connection) -> StoreReport:
    """Returns what is wrong with the rows of a store; raises sqlalchemy's DatabaseError."""
    damages = list(_of_file(link))
    there = set(sql.inspect(link).get_table_names())
    has_checksums = checksums.is_there(link)
    border = checksums.read_border(link, tables.meta)
    damages += _of_settings(link, border)
    counts = []
    for name, table in tables.TABLES.items():
        look = _Look(link, table, None if border is None else border.get(name, -1))
        damages += look.damages(is_there=name in there)
        if name in there:
            counts.append(TableCount(name, look.rows, look.with_checksum))
    return StoreReport(has_checksums, tuple(counts), tuple(damages))


def _of_file(link: sql.Connection) -> Iterator[Damage]:
    for (told,) in link.exec_driver_sql(f"PRAGMA integrity_check({MOST_OF_FILE})"):
        if told != "ok":
            first = str(told).partition("\n")[0]
            yield Damage("", None, None, None, "file", f"the file is damaged: SQLite says {first}")


def _of_settings(link: sql.Connection, border: dict[str, int] | None) -> Iterator[Damage]:
    query = sql.select(tables.meta.c.value).where(tables.meta.c.key == "settings")
    value = link.scalar(query)
    kept = Checksums.read(link, tables.meta.name).take(tables.SETTINGS)
    fault = ""
    if kept is None:
        is_new = border is not None and not border.get(tables.meta.name)
        if value is not None and is_new:
            fault = "without checksum"
    elif value is None:
        fault = "missing"
    elif kept.digest != digest_of(tables.meta.name, tables.SETTINGS, [value]):
        fault = "changed"
    if fault:
        yield Damage(tables.meta.name, None, None, None, fault, f"the row of settings {_IS[fault]}")


_IS = {
    "changed": f"is {tables.CHANGED}",
    "missing": "is missing",
    "misplaced": "does not belong to its row",
    "without checksum": "has no checksum: it was taken away, or an older move37 wrote the row",
}


class _Look:
    """A pass over the rows of one table."""

    def __init__(self, link: sql.Connection, table: sql.Table, border: int | None) -> None:
        """`border`: the last number that may be without a checksum; None: all may."""
        self.rows = self.with_checksum = 0
        self._link, self._table, self._border = link, table, border
        self._keys = list(table.primary_key.columns)
        self._columns = [one for one in table.columns if not one.primary_key]
        # Numbers of these have no gaps; a lesson may be missing where an import wrote the store.
        self._is_gapless = table is not tables.lessons
        self._last = Key(-1 if table is tables.records else 0)

    def damages(self, *, is_there: bool) -> Iterator[Damage]:
        kept = Checksums.read(self._link, self._table.name)
        if is_there:
            query = sql.select(*self._keys, *self._columns).order_by(*self._keys)
            query = query.execution_options(yield_per=AT_ONCE)
            for row in self._link.execute(query):
                key, columns = row[: len(self._keys)], row[len(self._keys) :]
                self.rows += 1
                if not all(type(one) is int for one in key):
                    message = f"a row of {self._table.name} has no number"
                    yield Damage(self._table.name, None, None, None, "unreadable", message)
                    continue
                yield from self._of_row(Key(*key), columns, kept)
        for one in kept.left:
            yield self._damage(one.key, one.experiment, "missing")
        if self._border is not None and self._is_gapless:
            yield from self._gap(Key(self._border + 1), to_the_end=True)

    def _of_row(self, key: Key, columns: Sequence[Any], kept: Checksums) -> Iterator[Damage]:
        yield from self._gap(key) if self._is_gapless else ()
        self._last = key
        checksum = kept.take(key)
        if checksum is not None:
            self.with_checksum += 1
            if checksum.digest != digest_of(self._table.name, key, columns):
                yield self._damage(key, checksum.experiment, "changed")
            return
        if self._border is not None and key.number > self._border:
            yield self._damage(key, None, "without checksum")
        try:
            kind: type = tables.KINDS[self._table.name]
            belongs = _belongs(from_json(kind, tables.text_of(columns[-1])), key, columns)
        except ValueError as error:
            yield self._damage(key, None, "unreadable", f"cannot be read ({error})")
            return
        if not belongs:
            yield self._damage(key, None, "misplaced")

    def _gap(self, key: Key, *, to_the_end: bool = False) -> Iterator[Damage]:
        """Yields what is left out before a row, if nobody else can tell: it had no checksum."""
        name, last = self._table.name, self._last
        first, end = last.number + 1, key.number
        if self._border is not None:
            end = min(end, self._border + 1)
        if first < end:
            many = f"{first}" if first + 1 == end else f"{first} to {end - 1}"
            is_record = name == tables.records.name
            what = f"{'experiment' if is_record else tables.ROW_NAMES[name]} {many}"
            yield Damage(
                name,
                first if is_record else None,
                None,
                None if is_record else first,
                "missing",
                f"{what} {'is' if first + 1 == end else 'are'} missing",
            )
        if to_the_end or name != tables.records.name:
            return
        due = last.step + 1 if key.number == last.number else 0
        if key.step > due and (self._border is None or key.number <= self._border):
            yield self._damage(Key(key.number, due), None, "missing")

    def _damage(self, key: Key, experiment: int | None, fault: str, sentence: str = "") -> Damage:
        name = self._table.name
        counts_experiments = self._keys[0].name == "experiment"
        return Damage(
            name,
            key.number if counts_experiments else experiment,
            key.step if len(self._keys) > 1 else None,
            None if counts_experiments else key.number,
            fault,
            f"{tables.row_name(name, key, experiment)} {sentence or _IS[fault]}",
        )


def _belongs(value: Any, key: Key, columns: Sequence[Any]) -> bool:
    """Returns True if what a body holds agrees with the rest of its row.

    Raises ValueError for a program that is no text.
    """
    if isinstance(value, Record):
        same = (value.experiment, value.step) == key
        same = (
            same and columns[0] == value.candidate.id == Candidate.of(value.candidate.proposal).id
        )
        return same and columns[1] == type(value.outcome).__name__
    return not isinstance(value, Lesson) or value.experiment == key.number
