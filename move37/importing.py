"""Takes other people's collections of programs: keeps, verifies and, if asked, trains them.

A collection is a JSON list of objects with `name`, `program` (the text of a Python file) and
`motivation`; other keys are passed over. ASI-Arch (arXiv:2507.18074) published its architectures
in this layout.
"""

import hashlib
import json
import re
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from move37 import __version__, auditing
from move37.loop import Keeper, Lab, Plan, assignment, discover, hardware
from move37.presets import Preset
from move37.records import (
    Audit,
    Audited,
    Brief,
    Candidate,
    CheckResult,
    Crashed,
    InputError,
    Level,
    Measured,
    Outcome,
    Proposal,
    Provenance,
    Record,
    Rejected,
    fields_of,
)
from move37.research.analyst import analyse
from move37.research.novelty import repeats

ORIGIN = "imported"
KEYS = ("name", "program", "motivation")
# Trainings at a time, at most. A constant: what a program is compared with must not depend on the
# number of workers.
AT_ONCE = 64


@dataclass(frozen=True)
class Collection:
    """The programs of one file, in its order."""

    proposals: tuple[Proposal, ...]
    fingerprint: str  # of the file's content

    @classmethod
    def read(cls, path: Path, *, only: Sequence[str] = ()) -> "Collection":
        """Reads a file; with `only`, those of these names. Raises InputError if it cannot."""
        try:
            data = json.loads(path.read_text("utf-8-sig"))
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise InputError(f"{path} is not UTF-8 text: expected a JSON list") from None
        except (ValueError, RecursionError) as error:  # also a number of thousands of digits
            raise InputError(f"{path} is not JSON: {error}") from None
        if not isinstance(data, list) or not data:
            raise InputError(
                f"{path}: expected a JSON list of objects with {', '.join(KEYS)}, "
                f"got {'an empty list' if data == [] else _kind(data)}"
            )
        found = _told_apart(
            [_proposal(entry, f"{path}, entry {n}") for n, entry in enumerate(data)]
        )
        missing = [name for name in only if name not in {one.name for one in found}]
        if missing:
            raise InputError(f"{path} has no program {missing[0]!r}: `--name` takes a name in it")
        chosen = tuple(one for one in found if not only or one.name in only)
        content = json.dumps([[one.name, one.motivation, one.source] for one in chosen])
        return cls(chosen, hashlib.sha256(content.encode()).hexdigest()[:8])


def _proposal(entry: object, place: str) -> Proposal:
    if not isinstance(entry, dict):
        raise InputError(f"{place}: expected an object with {', '.join(KEYS)}, got {_kind(entry)}")
    for key in KEYS:
        if not isinstance(entry.get(key), str):
            got = _kind(entry[key]) if key in entry else "no such key"
            raise InputError(f"{place}: expected text for {key!r}, got {got}")
        if not _is_unicode(entry[key]):
            raise InputError(f"{place}: {key!r} holds half a character (a lone surrogate)")
    if not entry["name"].strip() or not entry["program"].strip():
        raise InputError(f"{place}: `name` and `program` must not be empty")
    if not entry["name"].isprintable():
        raise InputError(f"{place}: expected one line without control characters for 'name'")
    return Proposal(entry["name"], entry["motivation"], entry["program"], ORIGIN)


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def _told_apart(found: Sequence[Proposal]) -> tuple[Proposal, ...]:
    """Returns the proposals with names that differ: the second A is A-2, unless there is one."""
    taken = {one.name for one in found}
    seen: set[str] = set()
    told = []
    for one in found:
        name, n = one.name, 1
        while name in seen or (n > 1 and name in taken):
            n += 1
            name = f"{one.name}-{n}"
        seen.add(name)
        told.append(replace(one, name=name))
    return tuple(told)


def _kind(data: object) -> str:
    names = {dict: "an object", list: "a list", str: "text", type(None): "null", bool: "a boolean"}
    return names.get(type(data), "a number")


def settings(
    collection: Collection,
    preset: Preset,
    *,
    checks: Sequence[str],
    level: Level,
    trained: bool,
    audited: bool = False,
) -> dict[str, Any]:
    """Returns what has to be the same when an import goes on.

    `audited`: every check of every program, not only up to the first that fails.
    """
    return {
        "content of the collection": collection.fingerprint,
        "preset": preset.name,
        "version of the preset": preset.fingerprint,
        "checks": ", ".join(checks),
        "level": f"{level}, every check" if audited else level,
        "trained": trained,
    }


@dataclass(frozen=True)
class _Reader:
    """A researcher that proposes what it reads, one program an experiment."""

    proposals: tuple[Proposal, ...]
    baselines: int

    def propose(self, brief: Brief) -> Proposal:
        return self.proposals[brief.experiment - self.baselines]


def train(
    collection: Collection, preset: Preset, lab: Lab, store: Keeper, *, workers: int
) -> Iterator[Record]:
    """Takes every program through the experiment of a run, after the baselines; yields records.

    Each program has one attempt. Goes on where the store ends; raises RunFailed as a run does.
    """
    # Nobody reads what others did: nobody waits for it, and nobody descends from it.
    selection = replace(preset.selection, lag=AT_ONCE, cold_start=sys.maxsize)
    due = len(preset.baselines) + len(collection.proposals)
    plan = Plan(replace(preset, attempts=1, selection=selection), due, seed=0, workers=workers)
    reader = _Reader(collection.proposals, len(preset.baselines))
    for records, _ in discover(plan, reader, lab, store):
        yield from records


def verify(
    collection: Collection,
    preset: Preset,
    lab: Lab,
    store: Keeper,
    *,
    checks: tuple[str, ...],
    level: Level,
    workers: int,
) -> Iterator[Record]:
    """Takes every program through the checks, up to the first that fails; yields records.

    Goes on with the programs that the store lacks; each is kept when it ends, and yielded in the
    order of the collection. A program that came before is refused as a repetition. What fails
    leaves a lesson; what passes was not measured, and teaches nothing yet.
    """

    def examine(proposal: Proposal) -> Outcome:
        return lab.examine(
            assignment(preset, proposal.source, seeds=(), checks=checks, level=level)
        )

    ended: dict[int, Record] = {}
    due = _missing(collection, store)
    for record in _keep_each(collection, preset, store, due, examine, workers):
        ended[record.experiment] = record
        while due and due[0] in ended:
            yield ended.pop(due.pop(0))


class AuditingLab(Protocol):
    """A lab that takes a program through every check, as `move37.lab.client.Lab` does."""

    def audit(self, audit: Audit) -> Audited | Rejected | Crashed: ...


def audit(
    collection: Collection,
    preset: Preset,
    lab: AuditingLab,
    store: Keeper,
    *,
    checks: tuple[str, ...],
    level: Level,
    workers: int,
) -> Iterator[Record]:
    """Takes every program through every check, whether or not one fails; yields records.

    The size of the mixer and the limits are those of `move37 verify`. Goes on with the programs
    that the store lacks; each is kept and yielded when it ends. The checks of a program are in its
    outcome, which is Rejected if one of them failed.
    """

    def examine(proposal: Proposal) -> Outcome:
        return _outcome_of(
            lab.audit(
                Audit(
                    source=proposal.source,
                    mixer=None,
                    checks=checks,
                    level=level,
                    width=auditing.WIDTH,
                    heads=auditing.HEADS,
                    limit_seconds=auditing.LIMIT_SECONDS[level],
                    limit_bytes=auditing.LIMIT_BYTES,
                )
            )
        )

    due = _missing(collection, store)
    yield from _keep_each(collection, preset, store, due, examine, workers)


def _outcome_of(audited: Audited | Rejected | Crashed) -> Outcome:
    if not isinstance(audited, Audited):
        return audited
    failed = [check for check in audited.checks if check.verdict == "failed"]
    if not failed:
        return Measured(audited.checks, ())
    first, *others = failed
    more = f"; failed too: {', '.join(check.check for check in others)}" if others else ""
    return Rejected(first.check, f"{first.evidence}{more}", audited.checks)


def _missing(collection: Collection, store: Keeper) -> list[int]:
    """Returns the numbers of the programs that the store does not hold yet."""
    kept = {record.experiment for record in store.records()}
    return [number for number in range(len(collection.proposals)) if number not in kept]


def _keep_each(
    collection: Collection,
    preset: Preset,
    store: Keeper,
    numbers: Iterable[int],
    examine: Callable[[Proposal], Outcome],
    workers: int,
) -> Iterator[Record]:
    """Examines the programs of these numbers, `workers` at a time; keeps each when it ends.

    So whoever stops in the middle loses only the programs that were being examined.
    """

    def one(number: int) -> Record:
        proposal = collection.proposals[number]
        started, moment = time.perf_counter(), datetime.now(UTC)
        earlier = list(enumerate(collection.proposals[:number]))
        outcome = repeats(proposal, earlier) or examine(proposal)
        provenance = Provenance(
            preset=preset.name,
            seeds=(),
            code_version=__version__,
            device="cpu",
            hardware=hardware(),
            started_at=moment.isoformat(timespec="seconds"),
            seconds=time.perf_counter() - started,
        )
        return Record(number, 0, Candidate.of(proposal), (), outcome, provenance)

    pool = ThreadPoolExecutor(workers, thread_name_prefix="import")
    try:
        for future in as_completed([pool.submit(one, number) for number in numbers]):
            record = future.result()
            failed = not isinstance(record.outcome, Measured)
            store.append([record], [analyse([record], [])] if failed else [])
            yield record
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True)
class Summary:
    """How many programs came through, and by what the others were stopped, most often first."""

    programs: int
    passed: int
    stopped: dict[str, int]

    @classmethod
    def of(cls, records: Sequence[Record]) -> "Summary":
        """Counts the imported programs by the last record of each."""
        last = {r.experiment: r for r in records if r.candidate.proposal.origin == ORIGIN}
        outcomes = [record.outcome for record in last.values()]
        stopped = Counter(
            one.check if isinstance(one, Rejected) else f"a crash ({one.stage.split(',')[0]})"
            for one in outcomes
            if isinstance(one, Rejected | Crashed)
        )
        return cls(len(last), len(last) - stopped.total(), dict(stopped.most_common()))

    def told(self) -> str:
        """Says it in one line."""
        stopped = "".join(f"; {count} stopped by {what}" for what, count in self.stopped.items())
        many = "program" if self.programs == 1 else "programs"
        return f"{self.programs} {many}: {self.passed} passed{stopped}"


def default_store(
    collection: Collection,
    preset: Preset,
    *,
    only: Sequence[str],
    level: Level,
    trained: bool,
    audited: bool = False,
) -> Path:
    """Returns where the records lie, if no other place is named; makes its folder.

    A store for each collection and each way to go through it. Raises InputError if the folder
    cannot be made.
    """
    parts = ["imported", collection.fingerprint, *["trained"] * trained]
    parts += ["all"] * audited
    parts += [*["full"] * (level == "full"), *["+".join(only)] * bool(only)]
    path = preset.default_store.with_name(f"{'-'.join(parts)}.sqlite")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {path.parent}: {error.strerror}") from None
    return path


# ---------------------------------------------------------------- the table of all checks

# What stands in a cell, in full and in a narrow terminal.
CELLS = {
    "passed": ("yes", "y"),
    "failed": ("**no**", "N"),
    "not offered": ("-", "-"),
    "not tried": ("-", "-"),
    "not run": ("?", "?"),
}


@dataclass(frozen=True)
class CheckTable:
    """Every check of every program of a collection."""

    title: str
    level: Level
    checks: tuple[str, ...]
    records: tuple[Record, ...]  # one for each program, in the order of the collection

    def failures(self) -> dict[str, int]:
        """Returns for each check how many programs failed it."""
        count = Counter(
            check.check
            for record in self.records
            for check in checks_in(record)
            if check.verdict == "failed"
        )
        return {name: count[name] for name in self.checks}

    def data(self) -> dict[str, Any]:
        """Returns the table as JSON data."""
        return {
            "level": self.level,
            "width": auditing.WIDTH,
            "heads": auditing.HEADS,
            "checks": list(self.checks),
            "failed": self.failures(),
            "programs": [
                {
                    "experiment": record.experiment,
                    "name": record.candidate.proposal.name,
                    "id": record.candidate.id,
                    "passed": isinstance(record.outcome, Measured),
                    "refused": ": ".join(refusal) if (refusal := _refusal(record)) else None,
                    "checks": [fields_of(check) for check in checks_in(record)],
                }
                for record in self.records
            ],
        }

    def markdown(self, width: int | None = None) -> str:
        """Returns the table, then why programs failed, as Markdown.

        With `width`, that of a terminal, prose is wrapped; and where the lines of the full table
        are longer, checks are numbered instead.
        """
        table = self._table(list(self.checks), is_narrow=False)
        legend = "yes: passed; **no**: failed; -: not offered; ?: not run."
        if width is not None and max(map(len, table)) > width:
            table = self._table([str(n + 1) for n in range(len(self.checks))], is_narrow=True)
            names = ", ".join(f"{n} {name}" for n, name in enumerate(self.checks, start=1))
            legend = f"{names}.\n\ny: passed; N: failed; -: not offered; ?: not run."
        passed = sum(isinstance(record.outcome, Measured) for record in self.records)
        programs = "program" if len(self.records) == 1 else "programs"
        summary = (
            f"Every check of {len(self.records)} {programs}, {passed} of which passed: "
            f"{self.level} level, width {auditing.WIDTH}, {auditing.HEADS} heads."
        )
        legends = [_wrapped(text, width) for text in legend.split("\n\n")]
        parts = [f"# {self.title}", _wrapped(summary, width), "\n".join(table), *legends]
        if reasons := self._reasons():
            parts += ["## What failed", "\n".join(_wrapped(text, width) for text in reasons)]
        return "\n\n".join(parts) + "\n"

    def _table(self, headings: Sequence[str], *, is_narrow: bool) -> list[str]:
        rows = [["#", "program", *headings]]
        for record in self.records:
            name = record.candidate.proposal.name
            if is_narrow and len(name) > 24:
                name = f"{name[:23]}…"
            if refusal := _refusal(record):
                kind, _ = refusal
                cells = [
                    kind.partition(":")[0] if is_narrow else kind,
                    *[""] * (len(self.checks) - 1),
                ]
            else:
                verdicts = {check.check: check.verdict for check in checks_in(record)}
                cells = [
                    CELLS[verdicts[check]][is_narrow] if check in verdicts else "?"
                    for check in self.checks
                ]
            rows.append([str(record.experiment), _plain(name).replace("|", "\\|"), *cells])
        count = [str(number) for number in self.failures().values()]
        rows.append(["", "programs that failed", *count])
        if is_narrow:
            return ["|" + "|".join(row) + "|" for row in [rows[0], ["-"] * len(rows[0]), *rows[1:]]]
        widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
        lines = [
            f"| {' | '.join(cell.ljust(size) for cell, size in zip(row, widths, strict=True))} |"
            for row in rows
        ]
        return [lines[0], f"|{'|'.join('-' * (size + 2) for size in widths)}|", *lines[1:]]

    def _reasons(self) -> list[str]:
        """Returns a line for each reason, with the programs that it holds for."""
        names: dict[tuple[str, str], list[str]] = {}
        for record in self.records:
            name = _plain(record.candidate.proposal.name)
            reasons = [
                (check.check, check.evidence)
                for check in checks_in(record)
                if check.verdict == "failed"
            ]
            if refusal := _refusal(record):
                reasons = [refusal]
            for reason in reasons:
                names.setdefault(reason, []).append(name)
        return [
            f"* {', '.join(programs)}: {check}: {_code(evidence)}"
            for (check, evidence), programs in names.items()
        ]


def _wrapped(text: str, width: int | None) -> str:
    """Returns a paragraph, or an item of a list, in lines of a terminal's width."""
    if width is None:
        return text
    indent = "  " * text.startswith("* ")
    return textwrap.fill(
        text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def checks_in(record: Record) -> tuple[CheckResult, ...]:
    """Returns the checks that a program went through."""
    return () if isinstance(record.outcome, Crashed) else record.outcome.checks


def _refusal(record: Record) -> tuple[str, str] | None:
    """Returns what ended a program before any check, and the evidence; None if nothing did."""
    outcome = record.outcome
    if isinstance(outcome, Crashed):
        return f"crashed: {outcome.stage}", outcome.error
    if isinstance(outcome, Rejected) and not outcome.checks:
        return f"refused: {outcome.check}", outcome.evidence
    return None


def _plain(text: str) -> str:
    """Returns text for a cell or a line of Markdown; what could be markup becomes code."""
    if all(letter.isalnum() or letter in " .-" for letter in text):
        return text
    return _code(text)


def _code(text: str) -> str:
    """Returns text as code of Markdown, in one line, whatever it holds."""
    line = " ".join(text.split())
    longest = max((len(run) for run in re.findall("`+", line)), default=0)
    fence = "`" * (longest + 1)
    pad = " " * (line.startswith("`") or line.endswith("`"))
    return f"{fence}{pad}{line}{pad}{fence}"
