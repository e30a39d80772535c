"""Takes other people's collections of programs: keeps, verifies and, if asked, trains them.

A collection is a JSON list of objects with `name`, `program` (the text of a Python file) and
`motivation`; other keys are passed over. ASI-Arch (arXiv:2507.18074) published its architectures
in this layout.
"""

import hashlib
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from move37 import __version__
from move37.loop import Keeper, Lab, Plan, assignment, discover, hardware
from move37.presets import Preset
from move37.records import (
    Brief,
    Candidate,
    Crashed,
    InputError,
    Level,
    Measured,
    Outcome,
    Proposal,
    Provenance,
    Record,
    Rejected,
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
    collection: Collection, preset: Preset, *, checks: Sequence[str], level: Level, trained: bool
) -> dict[str, Any]:
    """Returns what has to be the same when an import goes on."""
    return {
        "content of the collection": collection.fingerprint,
        "preset": preset.name,
        "version of the preset": preset.fingerprint,
        "checks": ", ".join(checks),
        "level": level,
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

    Goes on where the store ends. A program that came before is refused as a repetition. What
    fails leaves a lesson; what passes was not measured, and teaches nothing yet.
    """
    done = len(store.records())

    def examine(number: int) -> Record:
        proposal = collection.proposals[number]
        started, moment = time.perf_counter(), datetime.now(UTC)
        earlier = list(enumerate(collection.proposals[:number]))
        outcome: Outcome | None = repeats(proposal, earlier)
        if outcome is None:
            work = assignment(preset, proposal.source, seeds=(), checks=checks, level=level)
            outcome = lab.examine(work)
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
        for record in pool.map(examine, range(done, len(collection.proposals))):
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
    collection: Collection, preset: Preset, *, only: Sequence[str], level: Level, trained: bool
) -> Path:
    """Returns where the records lie, if no other place is named; makes its folder.

    A store for each collection and each way to go through it. Raises InputError if the folder
    cannot be made.
    """
    parts = ["imported", collection.fingerprint, *["trained"] * trained]
    parts += [*["full"] * (level == "full"), *["+".join(only)] * bool(only)]
    path = preset.default_store.with_name(f"{'-'.join(parts)}.sqlite")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {path.parent}: {error.strerror}") from None
    return path
