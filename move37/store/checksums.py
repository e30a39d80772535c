"""Checksums of the rows of a store: a row that was changed, or taken away, is noticed.

Each row that is written gets a row here, in the same transaction: what it is, of which experiment,
and the first half of the SHA-256 of its key and content. The content may move to no other row,
since the key is part of it. A store of an older version has no such table until its next write;
the rows that it holds by then stay without checksums, and `meta` keeps where they end.

Not covered: whoever changes a row and its checksum together.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import sqlalchemy as sql

_checksums = sql.Table(
    "checksums",
    sql.MetaData(),
    sql.Column("kind", sql.String, primary_key=True),  # the name of the table
    sql.Column("number", sql.Integer, primary_key=True),  # the experiment, or the row's number
    sql.Column("step", sql.Integer, primary_key=True),  # 0 where a table has no steps
    sql.Column("experiment", sql.Integer),  # NULL if it belongs to none
    sql.Column("digest", sql.String, nullable=False),
    sqlite_with_rowid=False,
)
_INSERT = _checksums.insert()  # made once: it takes a while
NAME = _checksums.name
BORDER_KEY = "checksums"  # in `meta`: the last numbers without checksums, by kind


class Key(NamedTuple):
    """Which row of a table it is."""

    number: int  # the experiment, or the row's number
    step: int = 0


class Sum(NamedTuple):
    """The checksum of one row."""

    key: Key
    experiment: int | None
    digest: str


def digest_of(kind: str, key: Key, columns: Sequence[object]) -> str:
    """Returns 32 hexadecimal digits, which are others for another table, key or content."""
    # A row that was changed may hold anything; what is not text never equals a text.
    texts = [one if isinstance(one, str) else f"\0{one!r}" for one in columns]
    head = f"{kind} {key.number} {key.step} {[len(text) for text in texts]}\n"
    data = "".join([head, *texts]).encode("utf-8", "surrogatepass")
    return hashlib.sha256(data).hexdigest()[:32]


def add(link: sql.Connection, kind: str, sums: Iterable[Sum]) -> None:
    """Writes the checksums of rows that the same transaction writes; needs `create`."""
    link.execute(
        _INSERT,
        [
            {
                "kind": kind,
                "number": one.key.number,
                "step": one.key.step,
                "experiment": one.experiment,
                "digest": one.digest,
            }
            for one in sums
        ],
    )


def create(link: sql.Connection, meta: sql.Table, numbers: dict[str, sql.Column[int]]) -> None:
    """Makes the table if it is not there, and keeps where the rows without checksums end.

    `numbers` has the column of numbers of each table that is there.
    """
    if is_there(link):
        return
    _checksums.create(link)
    last = {kind: link.scalar(sql.select(sql.func.max(one))) for kind, one in numbers.items()}
    border = {kind: number for kind, number in last.items() if number is not None}
    if link.scalar(sql.select(meta.c.key).where(meta.c.key == "settings")) is not None:
        border[meta.name] = 1
    link.execute(meta.delete().where(meta.c.key == BORDER_KEY))
    link.execute(meta.insert(), {"key": BORDER_KEY, "value": json.dumps(border)})


def is_there(link: sql.Connection) -> bool:
    """Returns True if the store has checksums."""
    query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
    return link.exec_driver_sql(query, (NAME,)).first() is not None


def read_border(link: sql.Connection, meta: sql.Table) -> dict[str, int] | None:
    """Returns the last numbers that may have no checksum, by kind; None if all may.

    A border that cannot be read is none: then every row needs a checksum.
    """
    value = link.scalar(sql.select(meta.c.value).where(meta.c.key == BORDER_KEY))
    if value is None:
        return {} if is_there(link) else None
    try:
        border = json.loads(value)
    except (TypeError, ValueError, RecursionError):
        return {}
    found = border.items() if isinstance(border, dict) else ()
    return {kind: number for kind, number in found if type(number) is int}


@dataclass
class Checksums:
    """The checksums of one table; those of rows that were not looked at yet."""

    kind: str
    are_kept: bool  # False: the store is of an older version
    _left: dict[Key, Sum] = field(default_factory=dict)

    @classmethod
    def read(cls, link: sql.Connection, kind: str, *, after: int | None = None) -> "Checksums":
        """Returns those of the rows with larger numbers than `after`; of all if it is None."""
        if not is_there(link):
            return cls(kind, are_kept=False)
        table = _checksums.c
        query = sql.select(table.number, table.step, table.experiment, table.digest)
        query = query.where(table.kind == kind)
        if after is not None:
            query = query.where(table.number > after)
        query = query.order_by(table.number, table.step)
        rows = ((Key(row[0], row[1]), row[2], row[3]) for row in link.execute(query))
        return cls(kind, True, {key: Sum(key, *others) for key, *others in rows})

    def take(self, key: Key) -> Sum | None:
        """Returns the checksum of a row, once; None if there is none."""
        return self._left.pop(key, None)

    @property
    def left(self) -> list[Sum]:
        """Returns the checksums whose rows were not asked for: after all rows, the missing."""
        return list(self._left.values())
