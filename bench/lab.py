"""How long an examination takes to start, what it leaves behind, and what gets out of it.

measured_apart_over_together
                  how much longer a training takes whose mixers are in another process than the rest
startup_ms        of an examination without checks, from a warm lab with every layer of the sandbox
                  that the machine offers
leak_mb_per_1000  how much more memory the lab's processes hold after a thousand examinations
escapes_*         the attempts of tests/lab/escapes, and how many of them the tests saw held

Rival: `python -c "import torch"`, what a lab without a zygote pays for each examination. Input that
must fail: a program that never ends has to be ended at its limit.

    python bench/lab.py [--examinations 1000]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import torch

from move37.lab.client import Lab
from move37.lab.loading import load_mixer
from move37.loop import assignment, hardware
from move37.presets import LAPTOP, SMOKE
from move37.records import Crashed, Measured
from move37.train.trainer import train

REPEATS = 20
ESCAPE_TEST = "test_an_attempt_is_held_and_nothing_of_it_stays"
LIMIT_SECONDS = 1.0


ROOT = Path(__file__).parents[1]


SETTLING_SECONDS = 2.0  # by then the last child and its warden are gone, pages and all


def resident_bytes() -> int:
    """Returns the memory that this process and all that descend from it hold, once at rest."""
    time.sleep(SETTLING_SECONDS)
    parents, pages = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            after = (folder / "stat").read_text().rsplit(")", 1)[1].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        parents[int(folder.name)], pages[int(folder.name)] = int(after[1]), int(after[21])
    found, border = 0, {os.getpid()}
    while border:
        found += sum(pages.get(process, 0) for process in border)
        border = {process for process, parent in parents.items() if parent in border}
    return found * os.sysconf("SC_PAGE_SIZE")


def apart_over_together(lab: Lab) -> float:
    """Returns the time of a training in the lab over that of the same one in this process."""
    recall = next(budget for budget in LAPTOP.budgets if budget.task == "recall")
    source = LAPTOP.reference.proposal().source
    work = replace(assignment(LAPTOP, source, seeds=(0,), checks=()), budgets=(recall,))
    ratios = []
    for _ in range(3):
        outcome = lab.examine(work)
        if not isinstance(outcome, Measured):
            raise SystemExit(f"an honest program ended with {outcome}")
        here, _ = train(load_mixer(source), recall, seed=0)
        if here.value != outcome.measurements[0].value:
            raise SystemExit("measured apart, the same training has another result")
        ratios.append(outcome.measurements[0].seconds / here.seconds)
    return statistics.median(ratios)


def escapes() -> tuple[int, int]:
    """Returns how many attempts there are, and how many of them the tests saw held."""
    total = len(list((ROOT / "tests" / "lab" / "escapes").glob("[a-z]*.py")))
    with tempfile.NamedTemporaryFile(suffix=".xml") as report:
        command = [sys.executable, "-m", "pytest", "-q", "-n", "0", f"--junitxml={report.name}"]
        command += ["tests/lab/test_sandbox.py", "-k", ESCAPE_TEST]
        subprocess.run(command, cwd=ROOT, check=False, stdout=subprocess.DEVNULL)
        cases = ElementTree.parse(report.name).iter("testcase")
        held = sum(len(case) == 0 for case in cases)  # a failure or a skip stands inside of it
    return total, held


def main() -> None:
    """Prints one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examinations", type=int, default=1000)
    examinations = parser.parse_args().examinations
    torch.set_num_threads(1)  # as in the lab
    source = SMOKE.reference.proposal().source
    nothing = assignment(SMOKE, source, seeds=(), checks=())
    endless = assignment(SMOKE, "while True: pass", seeds=(), checks=())
    endless = replace(endless, limit_seconds=LIMIT_SECONDS)
    warm, fresh = [], []
    with Lab() as lab:
        lab.examine(nothing)
        for _ in range(REPEATS):
            started = time.perf_counter()
            outcome = lab.examine(nothing)
            warm.append(time.perf_counter() - started)
            if not isinstance(outcome, Measured):
                raise SystemExit(f"an honest program ended with {outcome}")
        ratio = apart_over_together(lab)
        before = resident_bytes()
        for _ in range(examinations):
            lab.examine(nothing)
        leak = (resident_bytes() - before) / examinations
        started = time.perf_counter()
        outcome = lab.examine(endless)
        over_seconds = time.perf_counter() - started - LIMIT_SECONDS
        if not isinstance(outcome, Crashed):
            raise SystemExit(f"an endless program ended with {outcome}")
    for _ in range(3):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import torch, torch._dynamo"], check=True)
        fresh.append(time.perf_counter() - started)
    total, held = escapes()
    figures = {
        "measured_apart_over_together": ratio,
        "startup_ms": 1000 * statistics.median(warm),
        "fresh_process_ms": 1000 * statistics.median(fresh),
        "fresh_over_startup": statistics.median(fresh) / statistics.median(warm),
        "past_the_limit_ms": 1000 * over_seconds,
        "leak_mb_per_1000": 1000 * leak / 1e6,
        "escapes_total": total,
        "escapes_held": held,
    }
    print(json.dumps({"bench": "lab", "machine": hardware(), "figures": figures}))


if __name__ == "__main__":
    main()
