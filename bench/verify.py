"""Does the verifier catch the cheats, let the honest pass, and stay within its time?

Cheats are the mixers of tests/cheats that have to be caught before training, at the level that
their first line names; honest ones are those of tests/honest, at both levels. A flip is a mixer
whose verdict at the quick level is another one with another seed. An invented reason is a check
that a cheat fails beside the one that it names, in an audit of all checks, without the word that it
follows from that. The quick level judges at the
size of a laptop's run, the full one at the size of `move37 verify`. Seconds are those of a core,
for the library's mixers.

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
from statistics import mean, median
from typing import NamedTuple

import torch

from move37 import auditing
from move37.lab.loading import load_program
from move37.lab.worker import audit, prepare
from move37.loop import hardware
from move37.presets import LAPTOP
from move37.records import Audit, Audited, Level
from move37.verify import CHECKS, Subject

ROOT = Path(__file__).parents[1]
CHEATS = sorted((ROOT / "tests" / "cheats").glob("[a-z]*.py"))
HONEST = sorted((ROOT / "tests" / "honest").glob("[a-z]*.py"))
# Only what comes after training catches these; the lab's tests do.
AFTER_TRAINING = "after training"
QUADRATIC = ("softmax_attention",)  # by declaration
MIXERS = sorted((ROOT / "move37" / "nn" / "mixers").glob("[a-z]*.py"))
SIZES: dict[Level, tuple[int, int]] = {  # width and heads
    "quick": (LAPTOP.budgets[0].model.width, LAPTOP.budgets[0].model.heads),
    "full": (auditing.WIDTH, auditing.HEADS),
}


class Verdict(NamedTuple):
    """The first check that failed, if one did, and what the checks took of a core up to there."""

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
    subject = Subject(program.make, *SIZES[level], level, program.variants, seed)
    started = time.process_time()
    for name, check in CHECKS.items():
        try:
            bad = check(subject).verdict == "failed"
        except Exception:  # noqa: BLE001  whatever a cheat raises
            bad = True
        if bad and name not in excused:
            return Verdict(name, time.process_time() - started)
    return Verdict(None, time.process_time() - started)


def failure(task: tuple[Path, Level]) -> str | None:
    """Returns the check that a mixer fails at a level."""
    return verify(*task).failed


def failures(file: Path) -> list[str | None]:
    """Returns the checks that a mixer fails at the quick and at the full level."""
    return [verify(file, "quick").failed, verify(file, "full").failed]


def invented(file: Path) -> list[str]:
    """Returns the checks that a cheat fails in an audit without having to."""
    level = level_of(file)
    what = Audit(file.read_text(), None, tuple(CHECKS), level, *SIZES[level], 600.0, 0)
    outcome = audit(what, lambda stage: None)
    assert isinstance(outcome, Audited), outcome
    return [
        check.check
        for check in outcome.checks
        if check.verdict == "failed"
        and check.check != caught_by(file)
        and not check.evidence.startswith(f"follows from {caught_by(file)}: ")
    ]


def caught_by(file: Path) -> str:
    """Returns the check that a cheat names in the first line of its docstring."""
    return _told(file).removeprefix("Caught by ").removesuffix(" at the full level")


def usual_tests_pass(file: Path) -> bool:
    """Says whether a mixer passes the rival: the tests that repositories usually have."""
    torch.manual_seed(0)
    try:
        width, heads = SIZES["quick"]
        mixer = load_program(file.read_text()).make(width, heads)
        x_BTD = torch.randn(2, 64, width)
        y_BTD = mixer(x_BTD)
        y_BTD.sum().backward()
        other_BTD = x_BTD.clone()
        other_BTD[:, 32:] = torch.randn(2, 32, width)
        same = torch.allclose(mixer(other_BTD)[:, :32], y_BTD[:, :32], atol=1e-4)
    except Exception:  # noqa: BLE001  whatever a cheat raises
        return False
    gradients = all(p.grad is not None for p in mixer.parameters())
    return y_BTD.shape == x_BTD.shape and bool(y_BTD.isfinite().all()) and gradients and same


def flips(task: tuple[Path, int]) -> str | None:
    """Returns a word about the mixer if its verdict differs between the seeds."""
    file, seeds = task
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
    took: dict[Level, list[float]] = {"quick": [], "full": []}
    library = 0
    for level, seconds in took.items():  # timed, so alone on the machine
        for file in MIXERS:
            verdict = verify(file, level, excused=("sub-quadratic",) * (file.stem in QUADRATIC))
            seconds.append(verdict.seconds)
            library += verdict.failed is None
            tell(f"{file.stem} {level} {verdict.seconds:.2f} s {verdict.failed or 'passed'}")
    with multiprocessing.get_context("spawn").Pool(os.cpu_count(), prepare) as pool:
        caught = passed = 0
        verdicts = pool.imap(failure, [(file, level_of(file)) for file in cheats])
        for file, failed in zip(cheats, verdicts, strict=True):
            caught += failed is not None
            if failed is None:
                tell(f"not caught: {file.stem}")
        tell(f"{caught} of {len(cheats)} cheats are caught")
        reasons = 0
        for file, others in zip(cheats, pool.imap(invented, cheats), strict=True):
            reasons += len(others)
            if others:
                tell(f"{file.stem} is also said to fail {', '.join(others)}")
        rival = len(cheats) - sum(pool.imap(usual_tests_pass, cheats))
        both = pool.imap(failures, HONEST)
        for file, failed_by in zip(HONEST, both, strict=True):
            passed += failed_by == [None, None]
            if failed_by != [None, None]:
                tell(f"refused though honest: {file.stem} by {failed_by}")
        tell(f"{passed} of {len(HONEST)} honest ones pass")
        flipped = 0
        tasks = [(file, seeds) for file in (*cheats, *HONEST)]
        for done, told in enumerate(pool.imap(flips, tasks), start=1):
            flipped += told is not None
            if told:
                tell(f"flips: {told}")
            elif done % 20 == 0:
                tell(f"{done} of {len(tasks)} mixers tried with {seeds} seeds")
    figures = {
        "cheats_total": len(cheats),
        "cheats_caught": caught,
        "cheats_caught_by_usual_tests": rival,
        "invented_reasons": reasons,
        "honest_total": len(HONEST),
        "honest_passed": passed,
        "library_total": 2 * len(MIXERS),  # at both levels
        "library_passed": library,
        "quick_seconds_per_mixer": mean(took["quick"]),
        "quick_seconds_median": median(took["quick"]),
        "quick_seconds_worst": max(took["quick"]),
        "full_seconds_per_mixer": mean(took["full"]),
        "full_seconds_median": median(took["full"]),
        "full_seconds_worst": max(took["full"]),
        "seeds": seeds,
        "flips": flipped,
    }
    print(json.dumps({"bench": "verify", "machine": hardware(), "figures": figures}))


if __name__ == "__main__":
    main()
