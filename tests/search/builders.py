"""Synthetic records with round numbers, told by their gains on DeltaNet.

DeltaNet stands at 2 bits per byte and half of the answers right after 1000 tokens, on every seed.
A mixer's gain is what was asked for, plus WOBBLE on every other seed and minus WOBBLE on the rest
(which are which depends on its name, so that mixers do not move together): over an even number of
seeds in a row its mean is exact, and the noise is known.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import replace

from move37.records import (
    Candidate,
    CheckResult,
    Crashed,
    CurvePoint,
    Lesson,
    Measured,
    Measurement,
    Outcome,
    Proposal,
    Provenance,
    Record,
    Rejected,
)

TOKENS = 1000
LOSS, ACCURACY = 2.0, 0.5  # DeltaNet's, after TOKENS
HALFWAY_LOSS, HALFWAY_ACCURACY = 2.5, 0.4  # DeltaNet's, after half of them
BENCHMARKS = ("recall", "state tracking")
WOBBLE = 0.01
DEVIATION = WOBBLE * math.sqrt(2)  # of two seeds at plus and minus WOBBLE

PASSED = CheckResult("causality", "passed", "nothing moved")
QUADRATIC = CheckResult("complexity", "failed", "time grows with the square of the length")
BASELINES = 3  # how many `baselines` returns


def record(
    name: str,
    *,
    loss_gain: float = 0.0,
    benchmark_gain: float = 0.0,
    experiment: int = 10,
    step: int = 0,
    seeds: Sequence[int] = (0, 1),
    wobble: float = WOBBLE,
    origin: str = "composer",
    program: str = "mix = 1",
    stopped: bool = False,
    flops: float = 1e6,
    state_bytes: int | None = 4096,
    checks: tuple[CheckResult, ...] = (PASSED,),
) -> Record:
    """A measured mixer; if `stopped`, halfway, with gains on DeltaNet as it was there."""
    loss, accuracy = (HALFWAY_LOSS, HALFWAY_ACCURACY) if stopped else (LOSS, ACCURACY)

    def measurement(task: str, seed: int) -> Measurement:
        swing = wobble if (seed + sum(name.encode())) % 2 else -wobble
        language = task == "language"
        gain = (loss_gain if language else benchmark_gain) + swing
        value = loss * (1 - gain) if language else accuracy * (1 + gain)
        halfway = HALFWAY_LOSS if language else HALFWAY_ACCURACY
        return Measurement(
            task=task,
            seed=seed,
            metric="bits per byte" if language else "accuracy",
            value=value,
            tokens=TOKENS // 2 if stopped else TOKENS,
            stopped=stopped,
            seconds=1.0,
            peak_bytes=1,
            state_bytes=state_bytes,
            flops_per_token=flops,
            parameters=100_000,
            curve=(CurvePoint(TOKENS // 2, 1.0, halfway), CurvePoint(TOKENS, 1.0, value)),
        )

    tasks = ("language", *BENCHMARKS)
    measurements = tuple(measurement(task, seed) for seed in seeds for task in tasks)
    return _record(name, Measured(checks, measurements), experiment, step, origin, program)


def rejected(name: str, *, experiment: int = 10, step: int = 0) -> Record:
    return _record(name, Rejected("causality", "an output saw its future"), experiment, step)


def crashed(name: str, *, experiment: int = 10, step: int = 0) -> Record:
    return _record(name, Crashed("load", "SyntaxError"), experiment, step)


def baselines() -> list[Record]:
    """DeltaNet on six seeds, a peer that is as good, and a quadratic mixer that is better."""
    return [
        record("DeltaNet", experiment=0, seeds=range(6), wobble=0, origin="baseline"),
        record("GatedDeltaNet", experiment=1, origin="baseline"),
        record(
            "SoftmaxAttention",
            experiment=2,
            loss_gain=0.5,
            benchmark_gain=0.9,
            origin="baseline",
            checks=(PASSED, QUADRATIC),
        ),
    ]


def measured_again(one: Record, rng: random.Random) -> Record:
    """The same measured mixer with dice instead of WOBBLE: normal noise of that size."""
    assert isinstance(one.outcome, Measured)

    def again(m: Measurement) -> Measurement:
        scale = LOSS if m.task == "language" else ACCURACY
        return replace(m, value=m.value + scale * rng.gauss(0, WOBBLE))

    outcome = replace(one.outcome, measurements=tuple(map(again, one.outcome.measurements)))
    return replace(one, outcome=outcome)


def lesson(of: Record) -> Lesson:
    return Lesson(of.experiment, of.candidate.id, "It forgets too fast.", "forgetting")


def _record(
    name: str,
    outcome: Outcome,
    experiment: int,
    step: int,
    origin: str = "composer",
    program: str = "mix = 1",
) -> Record:
    source = f"{program}  # {name}\n"  # one program per name, of the same size
    return Record(
        experiment=experiment,
        step=step,
        candidate=Candidate.of(Proposal(name, "It may help.", source, origin)),
        parents=(),
        outcome=outcome,
        provenance=Provenance("laptop", (0, 1), "0.1", "cpu", "", "", 1.0),
    )
