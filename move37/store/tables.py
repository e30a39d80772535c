"""The tables of a store that hold what a run found, and what a row is called in a message."""

import sqlalchemy as sql

from move37.records import Call, Fallback, Judgement, Lesson, Record
from move37.store.checksums import Key

METADATA = sql.MetaData()
meta = sql.Table(
    "meta",
    METADATA,
    sql.Column("key", sql.String, primary_key=True),
    sql.Column("value", sql.Text, nullable=False),
)
records = sql.Table(
    "records",
    METADATA,
    sql.Column("experiment", sql.Integer, primary_key=True),
    sql.Column("step", sql.Integer, primary_key=True),
    sql.Column("candidate", sql.String, nullable=False, index=True),
    sql.Column("outcome", sql.String, nullable=False),
    sql.Column("body", sql.Text, nullable=False),
)
lessons = sql.Table(
    "lessons",
    METADATA,
    sql.Column("experiment", sql.Integer, primary_key=True),
    sql.Column("body", sql.Text, nullable=False),
)


def _late(name: str) -> sql.Table:
    """A table that is made when the first of its rows is kept: an offline run's store has none."""
    return sql.Table(
        name,
        sql.MetaData(),
        sql.Column("number", sql.Integer, primary_key=True),
        sql.Column("body", sql.Text, nullable=False),
    )


calls, judgements, fallbacks = _late("calls"), _late("judgements"), _late("fallbacks")

TABLES = {one.name: one for one in (records, lessons, calls, judgements, fallbacks)}
# What one row of each table is called, and what its body holds.
ROW_NAMES = {
    "records": "record",
    "lessons": "lesson",
    "calls": "call",
    "judgements": "judgement",
    "fallbacks": "fallback",
}
KINDS = {
    "records": Record,
    "lessons": Lesson,
    "calls": Call,
    "judgements": Judgement,
    "fallbacks": Fallback,
}
CHANGED = "not as it was written"
SETTINGS = Key(0)  # their checksum, among those of `meta`


def row_name(table: str, key: Key, experiment: int | None) -> str:
    """Returns how a message names a row, without anything that it holds."""
    name = ROW_NAMES[table]
    if table == records.name:
        return f"the {name} of experiment {key.number}, step {key.step}"
    if table == lessons.name:
        return f"the {name} of experiment {key.number}"
    about = "" if experiment is None else f", about experiment {experiment},"
    return f"{name} {key.number} of a language model{about}"


def text_of(value: object) -> str:
    """Returns a text that a table holds; raises ValueError for anything else in its place."""
    if not isinstance(value, str):
        raise ValueError("expected text in its place")
    return value
