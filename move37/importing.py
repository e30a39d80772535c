"""Takes other people's collections of programs: keeps, verifies and, if asked, trains them.

A collection is a JSON list of objects with `name`, `program` (the text of a Python file) and
`motivation`; other keys are passed over. ASI-Arch (arXiv:2507.18074) published its architectures
in this layout.
"""

import hashlib
import json
import time
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
    InputError,
    Level,
    Outcome,
    Proposal,
    Provenance,
    Record,
)
from move37.research.novelty import repeats

ORIGIN = "imported"
KEYS = ("name", "program", "motivation")


@dataclass(frozen=True)
class Collection:
    """The programs of one file, in its order."""

    proposals: tuple[Proposal, ...]
    fingerprint: str  # of the file's content

    @classmethod
    def read(cls, path: Path, *, only: Sequence[str] = ()) -> "Collection":
        """Reads a file; with `only`, those of these names. Raises InputError if it cannot."""
        try:
            text = path.read_text("utf-8")
            data = json.loads(text)
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise InputError(f"{path} is not UTF-8 text: expected a JSON list") from None
        except (json.JSONDecodeError, RecursionError) as error:
            raise InputError(f"{path} is not JSON: {error}") from None
        if not isinstance(data, list) or not data:
            raise InputError(
                f"{path}: expected a JSON list of objects with {', '.join(KEYS)}, "
                f"got {'an empty list' if data == [] else _kind(data)}"
            )
        found = tuple(_proposal(entry, f"{path}, entry {n}") for n, entry in enumerate(data))
        missing = [name for name in only if name not in {one.name for one in found}]
        if missing:
            raise InputError(f"{path} has no program {missing[0]!r}: `--only` takes a name in it")
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
    if not entry["name"].strip() or not entry["program"].strip():
        raise InputError(f"{place}: `name` and `program` must not be empty")
    return Proposal(entry["name"], entry["motivation"], entry["program"], ORIGIN)


def _kind(data: object) -> str:
    names = {dict: "an object", list: "a list", str: "text", type(None): "null", bool: "a boolean"}
    return names.get(type(data), "a number")


def settings(
    collection: Collection, preset: Preset, *, checks: Sequence[str], level: Level, trained: bool
) -> dict[str, Any]:
    """Returns what has to be the same when an import goes on."""
    return {
        "collection": collection.fingerprint,
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
    # Nobody reads what others did, so nobody has to wait for it.
    selection = replace(preset.selection, lag=max(preset.selection.lag, workers))
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

    Goes on where the store ends. A program that came before is refused as a repetition.
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
            store.append([record])
            yield record
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def default_store(collection: Collection, preset: Preset, *, trained: bool) -> Path:
    """Returns where the records lie, if no other place is named: a store for each collection."""
    name = f"imported-{collection.fingerprint}{'-trained' if trained else ''}.sqlite"
    return preset.default_store.with_name(name)
