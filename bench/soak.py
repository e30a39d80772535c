"""Whether a run survives everything: experiments with random kills, against an undisturbed run.

soak_experiments  experiments of the run
soak_kills        processes that were killed: office, zygote, wardens, and those that they start
soak_differences  records that differ from those of the undisturbed run, or are missing, or doubled

Rival: the undisturbed run. Input that must fail: a run whose records are of another seed has to
differ.

    python bench/soak.py [--experiments 300] [--folder FOLDER]
"""

import argparse
import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

from move37.lab.client import Lab
from move37.loop import Plan, discover, hardware
from move37.presets import SMOKE
from move37.records import ModelSize, Record
from move37.research.composer import Composer
from move37.store.store import Store

# Every step of an experiment, as short as can be.
SIZE = ModelSize(width=16, heads=2, layers=1, parameters=6_000)
PRESET = replace(SMOKE, budgets=tuple(replace(budget, model=SIZE) for budget in SMOKE.budgets))
PAUSE_SECONDS = (5.0, 30.0)  # between two kills
# What is killed, how often: a new office and a new zygote cost more than an experiment. On a busy
# machine they take longer than the pause: so none is killed before the last has kept something.
WEIGHTS = {"office": 1, "zygote": 1, "warden": 3, "examination": 5}


def office(path: Path, experiments: int, seed: int) -> None:
    """Runs to the end of the plan, from wherever the store is."""
    plan = Plan(PRESET, experiments, seed)
    with Store.open(path, create=True) as store, Lab() as lab:
        store.lock()
        store.keep_settings(plan.settings)
        for records, _ in discover(plan, Composer(), lab, store):
            print(records[0].experiment, file=sys.stderr, flush=True)


def descendants(process: int) -> list[tuple[str, int]]:
    """Returns all that a process has started, by what it is: how far below the office."""
    names = ("office", "zygote", "warden", "examination")
    found, border = [], [process]
    for name in (*names, "", ""):
        found += [(name or names[-1], one) for one in border]
        border = [child for one in border for child in children(one)]
    return found


def children(process: int) -> list[int]:
    """Returns the children of a process that may be gone."""
    found: list[int] = []
    for told in Path(f"/proc/{process}/task").glob("*/children"):  # of every thread its own
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found += map(int, told.read_text().split())
    return found


def start(path: Path, experiments: int) -> "subprocess.Popen[bytes]":
    """Starts an office in a process of its own."""
    command = [sys.executable, __file__, "--office", str(path), "--experiments", str(experiments)]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


def kept(path: Path) -> int:
    """Returns how many experiments a store holds; none while it is not there."""
    if not path.exists():
        return 0
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as link:
        try:
            row = link.execute("SELECT COUNT(DISTINCT experiment) FROM records").fetchone()
        except sqlite3.OperationalError:  # not made yet
            return 0
    return int(row[0])


def disturbed(path: Path, experiments: int) -> Counter[str]:
    """Runs to the end while processes are killed at random; returns how many, by what they were."""
    dice, kills, due = random.Random(0), Counter[str](), 0
    process = start(path, experiments)
    while True:
        try:
            status = process.wait(timeout=dice.uniform(*PAUSE_SECONDS))
        except subprocess.TimeoutExpired:
            pass
        else:
            if status == 0:
                return kills
            if status != -signal.SIGKILL:
                raise SystemExit(f"the run ended with status {status}")
            process = start(path, experiments)
            continue
        if kept(path) < due:
            continue  # a new office or zygote has shown nothing yet
        by_name: dict[str, list[int]] = {}
        for name, one in descendants(process.pid):
            by_name.setdefault(name, []).append(one)
        names = sorted(by_name)
        (name,) = dice.choices(names, [WEIGHTS[name] for name in names])
        try:
            os.kill(dice.choice(by_name[name]), signal.SIGKILL)
        except ProcessLookupError:
            continue
        kills[name] += 1
        if name in ("office", "zygote"):
            due = kept(path) + 1


def differences(one: list[Record], other: list[Record]) -> int:
    """Returns how many records of either have no equal at the same place of the other."""
    places: dict[tuple[int, int], list[Record]] = {}
    for record in (*one, *other):
        places.setdefault((record.experiment, record.step), []).append(record)
    return sum(len(pair) != 2 or not pair[0].same_as(pair[1]) for pair in places.values())


def records_of(path: Path, experiments: int) -> list[Record]:
    """Returns the records of the first experiments of a store."""
    with Store.open(path, write=False) as store:
        return [record for record in store.records() if record.experiment < experiments]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiments", type=int, default=300)
    parser.add_argument("--folder", type=Path, help="where the stores are kept; none: nowhere")
    parser.add_argument("--office", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.office:
        office(given.office, given.experiments, seed=0)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        calm, wild, other = (folder / f"{name}.sqlite" for name in ("calm", "wild", "other"))
        office(calm, given.experiments, seed=0)
        kills = disturbed(wild, given.experiments)
        few = len(PRESET.baselines) + 2
        office(other, few, seed=1)
        # Of another seed: the proposals have to differ.
        unequal = differences(records_of(other, few), records_of(calm, few))
        assert unequal > 0, "a run of another seed does not differ: the comparison sees nothing"
        undisturbed, survived = (records_of(path, given.experiments) for path in (calm, wild))
        figures = {
            "soak_experiments": len({record.experiment for record in survived}),
            "soak_differences": differences(undisturbed, survived),
            "soak_kills": kills.total(),
            **{f"soak_kills_{name}": count for name, count in sorted(kills.items())},
        }
    print(json.dumps({"bench": "soak", "machine": hardware(), "figures": figures}))


if __name__ == "__main__":
    main()
