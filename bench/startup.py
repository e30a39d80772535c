"""How long an examination takes to start: forked from the zygote, against a fresh process.

Rival: `python -c "import torch"`, what a lab without a zygote pays for each examination. Input that
must fail: a program that never ends has to be ended at its limit.
"""

import json
import statistics
import subprocess
import sys
import time
from dataclasses import replace

from move37.lab.client import Lab
from move37.loop import assignment, hardware
from move37.presets import SMOKE
from move37.records import Crashed, Measured

REPEATS = 20
LIMIT_SECONDS = 1.0


def main() -> None:
    """Prints one JSON object."""
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
        started = time.perf_counter()
        outcome = lab.examine(endless)
        over_seconds = time.perf_counter() - started - LIMIT_SECONDS
        if not isinstance(outcome, Crashed):
            raise SystemExit(f"an endless program ended with {outcome}")
    for _ in range(3):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import torch, torch._dynamo"], check=True)
        fresh.append(time.perf_counter() - started)
    figures = {
        "startup_ms": 1000 * statistics.median(warm),
        "fresh_process_ms": 1000 * statistics.median(fresh),
        "fresh_over_startup": statistics.median(fresh) / statistics.median(warm),
        "past_the_limit_ms": 1000 * over_seconds,
    }
    print(json.dumps({"bench": "startup", "machine": hardware(), "figures": figures}))


if __name__ == "__main__":
    main()
