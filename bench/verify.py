"""Does the verifier catch the cheats, let the honest pass, and stay within its time?

Cheats are the mixers of tests/cheats that have to be caught before training, at the level that
their first line names; honest ones are those of tests/honest, at both levels. A flip is a mixer
whose verdict at the quick level is another one with another seed. Seconds are those of the
library's mixers, at width 32 with two heads.

Rival: what a repository's unit tests usually ask of a layer (shape, finite numbers, gradients, and
no output before the middle moves with the inputs after it). Input that must fail: the cheats.

    python bench/verify.py [--seeds 20]
"""

import argparse
import ast
import json
import multiprocessing
import os
import sys
import time
from pathlib import Path
from statistics import mean
from typing import NamedTuple

import torch

from move37.lab.loading import load_program
from move37.lab.worker import prepare
from move37.loop import hardware
from move37.records import Level
from move37.verify import CHECKS, Subject

ROOT = Path(__file__).parents[1]
CHEATS = sorted((ROOT / "tests" / "cheats").glob("[a-z]*.py"))
HONEST = sorted((ROOT / "tests" / "honest").glob("[a-z]*.py"))
# Only what comes after training catches these; the lab's tests do.
AFTER_TRAINING = "after training"
QUADRATIC = ("softmax_attention",)  # by declaration
MIXERS = sorted((ROOT / "move37" / "nn" / "mixers").glob("[a-z]*.py"))
WIDTH, HEADS = 32, 2


class Verdict(NamedTuple):
    """The first check that failed, if one did, and how long the checks took up to there."""

    failed: str | None
    seconds: float


def level_of(file: Path) -> Level:
    """Returns the level at which a cheat has to be caught, by the first line of its docstring."""
    return "full" if "at the full level" in _told(file) else "quick"


def _told(file: Path) -> str:
    return (ast.get_docstring(ast.parse(file.read_text())) or "").split(":")[0]


def verify(file: Path, level: Level, seed: int = 0, excused: tuple[str, ...] = ()) -> Verdict:
    """Returns the verdict over all checks; an exception counts as a failure."""
    program = load_program(file.read_text())
    subject = Subject(program.make, WIDTH, HEADS, level, program.variants, seed)
    started = time.perf_counter()
    for name, check in CHECKS.items():
        try:
            bad = check(subject).verdict == "failed"
        except Exception:  # noqa: BLE001  whatever a cheat raises
            bad = True
        if bad and name not in excused:
            return Verdict(name, time.perf_counter() - started)
    return Verdict(None, time.perf_counter() - started)


def usual_tests_pass(file: Path) -> bool:
    """Says whether a mixer passes the rival: the tests that repositories usually have."""
    torch.manual_seed(0)
    try:
        mixer = load_program(file.read_text()).make(WIDTH, HEADS)
        x_BTD = torch.randn(2, 64, WIDTH)
        y_BTD = mixer(x_BTD)
        y_BTD.sum().backward()
        other_BTD = x_BTD.clone()
        other_BTD[:, 32:] = torch.randn(2, 32, WIDTH)
        same = torch.allclose(mixer(other_BTD)[:, :32], y_BTD[:, :32], atol=1e-4)
    except Exception:  # noqa: BLE001  whatever a cheat raises
        return False
    gradients = all(p.grad is not None for p in mixer.parameters())
    return y_BTD.shape == x_BTD.shape and bool(y_BTD.isfinite().all()) and gradients and same


def flips(task: tuple[Path, int]) -> str | None:
    """Returns a word about the mixer if its verdict differs between the seeds."""
    file, seeds = task
    torch.set_num_threads(1)
    verdicts = [verify(file, "quick", seed).failed for seed in range(seeds)]
    if len({verdict is None for verdict in verdicts}) == 1:
        return None
    return f"{file.stem}: {', '.join(str(verdict) for verdict in verdicts)}"


def main() -> None:
    """Prints one JSON object; what was not as it should be goes to the other stream."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    seeds = parser.parse_args().seeds
    prepare()

    def tell(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    cheats = [file for file in CHEATS if AFTER_TRAINING not in _told(file)]
    caught = rival = 0
    for file in cheats:
        verdict = verify(file, level_of(file))
        caught += verdict.failed is not None
        rival += not usual_tests_pass(file)
        if verdict.failed is None:
            tell(f"not caught: {file.stem}")
    passed = 0
    for file in HONEST:
        failures = [verify(file, level).failed for level in ("quick", "full")]
        passed += failures == [None, None]
        if failures != [None, None]:
            tell(f"refused though honest: {file.stem} by {failures}")
    took: dict[Level, list[float]] = {"quick": [], "full": []}
    library = 0
    for level, seconds in took.items():
        for file in MIXERS:
            verdict = verify(file, level, excused=("sub-quadratic",) * (file.stem in QUADRATIC))
            seconds.append(verdict.seconds)
            library += verdict.failed is None
            tell(f"{file.stem} {level} {verdict.seconds:.2f} s {verdict.failed or 'passed'}")
    tasks = [(file, seeds) for file in (*cheats, *HONEST)]
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        flipped = [told for told in pool.imap(flips, tasks, chunksize=4) if told]
    for told in flipped:
        tell(f"flips: {told}")
    figures = {
        "cheats_total": len(cheats),
        "cheats_caught": caught,
        "cheats_caught_by_usual_tests": rival,
        "honest_total": len(HONEST),
        "honest_passed": passed,
        "library_total": 2 * len(MIXERS),  # at both levels
        "library_passed": library,
        "quick_seconds_per_mixer": mean(took["quick"]),
        "quick_seconds_worst": max(took["quick"]),
        "full_seconds_per_mixer": mean(took["full"]),
        "full_seconds_worst": max(took["full"]),
        "seeds": seeds,
        "flips": len(flipped),
    }
    print(json.dumps({"bench": "verify", "machine": hardware(), "figures": figures}))


if __name__ == "__main__":
    main()
