"""How fit a candidate is: what it gains on DeltaNet, in units of seed noise.

Two gains are taken, as in the paper: on the loss (held-out text) and on the benchmark (mean score
of the other tasks), both relative to DeltaNet on the same seed after the same tokens.

`paper`  mean of sigmoid(6 gain / 10 %) for both, gains clipped to +-10 %, and the judgement.
`noise`  mean of asinh(gain / noise) for both: linear where a gain is as small as the noise,
         logarithmic where it is large, so that no single gain can buy all the others. Nothing
         is clipped. The judgement only breaks ties.
"""

import ast
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from move37.records import Candidate, CheckResult, Measured, Measurement, Record
from move37.statistics import Interval, Noise, corrected_level, interval, pooled_noise

Form = Literal["noise", "paper"]

LOSS_TASK = "language"
# A relative gain above this is sent back to the verifier: the paper's bound, where it clips.
IMPLAUSIBLE_GAIN = 0.10


@dataclass(frozen=True)
class Result:
    """All that was measured of one candidate, over its records."""

    experiment: int
    candidate: Candidate
    parents: tuple[str, ...]
    checks: tuple[CheckResult, ...]
    measurements: tuple[Measurement, ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds on which it was trained."""
        return tuple(sorted({m.seed for m in self.measurements}))

    def of(self, task: str, seed: int) -> Measurement:
        """Returns the measurement of one task and seed; raises KeyError if there is none."""
        for measurement in self.measurements:
            if (measurement.task, measurement.seed) == (task, seed):
                return measurement
        raise KeyError(f"{self.candidate.proposal.name}: no {task} with seed {seed}")

    def mean(self, task: str) -> float:
        """Returns the task's value, averaged over seeds."""
        values = [m.value for m in self.measurements if m.task == task]
        return sum(values) / len(values)

    @property
    def benchmarks(self) -> tuple[str, ...]:
        """The tasks apart from the language loss."""
        names = dict.fromkeys(m.task for m in self.measurements if m.task != LOSS_TASK)
        return tuple(names)

    @property
    def loss(self) -> float:
        """Bits per byte on held-out text, averaged over seeds."""
        return self.mean(LOSS_TASK)

    @property
    def benchmark(self) -> float:
        """Mean score of the other tasks, averaged over seeds."""
        return sum(self.mean(task) for task in self.benchmarks) / len(self.benchmarks)


def results(records: Sequence[Record]) -> list[Result]:
    """Returns one result per candidate that was measured and not rejected afterwards.

    In order of the records. A later rejection (the full verification of an implausible gain)
    takes the candidate out: it has no fitness.
    """
    found: dict[str, Result] = {}
    for record in records:
        identity, outcome = record.candidate.id, record.outcome
        if not isinstance(outcome, Measured):
            found.pop(identity, None)
        elif identity in found:
            earlier = found[identity]
            found[identity] = Result(
                earlier.experiment,
                earlier.candidate,
                earlier.parents,
                earlier.checks,
                earlier.measurements + outcome.measurements,
            )
        elif outcome.measurements:
            found[identity] = Result(
                record.experiment,
                record.candidate,
                record.parents,
                outcome.checks,
                outcome.measurements,
            )
    return list(found.values())


@dataclass(frozen=True)
class Gains:
    """Relative gains on the reference, seed by seed; positive is better."""

    loss: tuple[float, ...]
    benchmark: tuple[float, ...]


@dataclass(frozen=True)
class Fitness:
    """A number for the search, with the interval that the seeds allow."""

    value: float
    interval: Interval  # 95 %
    loss_gain: float  # relative, mean over seeds
    benchmark_gain: float
    judgement: float  # 0 to 1, 0.5 for the reference; counted cost

    @property
    def rank_key(self) -> tuple[float, float, float]:
        """Sorts candidates: fitness to one decimal, then judgement, then the rest."""
        return (round(self.value, 1), self.judgement, self.value)

    @property
    def implausible(self) -> bool:
        """A gain so large that a fault is likelier than a discovery."""
        return max(self.loss_gain, self.benchmark_gain) > IMPLAUSIBLE_GAIN


class Scale:
    """Turns results into fitness, by one reference and one estimate of the noise.

    Raises ValueError if the reference is not among the results, or no mixer has two seeds.
    """

    def __init__(self, measured: Sequence[Result], *, reference: str = "DeltaNet") -> None:
        named = {r.candidate.proposal.name: r for r in measured if _is_baseline(r)}
        if reference not in named:
            raise ValueError(f"the reference {reference} was not measured, only {sorted(named)}")
        self.reference = named[reference]
        gains = [self.gains(r) for r in measured if r is not self.reference]
        self.noise: Mapping[str, Noise] = {
            "loss": _at_least(1e-6, pooled_noise(g.loss for g in gains)),
            "benchmark": _at_least(1e-6, pooled_noise(g.benchmark for g in gains)),
        }
        self.tried = sum(not _is_baseline(r) for r in measured)

    def gains(self, result: Result) -> Gains:
        """Returns the gains on the seeds that both have, after the tokens that `result` used."""
        shared = sorted(set(result.seeds) & set(self.reference.seeds))
        if not shared:
            raise ValueError(f"{result.candidate.proposal.name} shares no seed with the reference")
        loss, benchmark = [], []
        for seed in shared:
            own, other = self._pair(result, LOSS_TASK, seed)
            loss.append((other - own) / other)
            pairs = [self._pair(result, task, seed) for task in result.benchmarks]
            own, other = (sum(values) / len(pairs) for values in zip(*pairs, strict=True))
            benchmark.append((own - other) / max(other, 1e-9))
        return Gains(tuple(loss), tuple(benchmark))

    def _pair(self, result: Result, task: str, seed: int) -> tuple[float, float]:
        own, other = result.of(task, seed), self.reference.of(task, seed)
        if own.tokens == other.tokens:
            return own.value, other.value
        at = {point.tokens: point.value for point in other.curve}
        return own.value, at[own.tokens]  # stopped early: compared at the same place of the curve

    def fitness(self, result: Result, form: Form = "noise") -> Fitness:
        """Returns the fitness of a result."""
        gains, judged = self.gains(result), self.judgement(result)
        seeds = len(gains.loss)
        means = {"loss": sum(gains.loss) / seeds, "benchmark": sum(gains.benchmark) / seeds}
        value, variance = 0.0, 0.0
        for axis, gain in means.items():
            deviation = self.noise[axis].deviation
            if form == "noise":
                units = gain / deviation
                value += math.asinh(units) / 2
                slope = 0.5 / math.sqrt(1 + units**2) / deviation
            else:
                clipped = min(max(gain, -0.1), 0.1)
                sigmoid = 1 / (1 + math.exp(-6 * clipped / 0.1))
                value += sigmoid / 3
                slope = sigmoid * (1 - sigmoid) * 60 / 3 * (clipped == gain)
            variance += (slope * deviation) ** 2 / seeds
        if form == "paper":
            value += judged / 3
        if result is self.reference:
            variance = 0.0  # zero by definition, not by measurement
        freedom = min(noise.freedom for noise in self.noise.values())
        reach = interval(value, math.sqrt(variance), freedom)
        return Fitness(value, reach, means["loss"], means["benchmark"], judged)

    def judgement(self, result: Result) -> float:
        """Returns 1 / (1 + cost), the cost relative to the reference.

        Counted, never asked: the geometric mean of the ratios of FLOPs per token, bytes of
        decoding state (where offered) and size of the program in syntax nodes.
        """
        ratios = []
        for own, other in zip(_costs(result), _costs(self.reference), strict=True):
            if own and other:
                ratios.append(own / other)
        return 1 / (1 + math.prod(ratios) ** (1 / len(ratios)))

    def verdict(self, result: Result) -> Literal["better", "worse", "open"]:
        """Compares with the reference, corrected for the number of candidates that were tried.

        "better" needs both gains above zero together in the mean; it is no discovery yet: that
        takes `confirm`, on fresh seeds.
        """
        fit = self.fitness(result)
        half = (fit.interval.high - fit.interval.low) / 2
        freedom = min(noise.freedom for noise in self.noise.values())
        reach = interval(0, 1, freedom).high
        wide = interval(0, 1, freedom, level=corrected_level(0.95, self.tried)).high
        if abs(fit.value) <= half / reach * wide:
            return "open"
        return "better" if fit.value > 0 else "worse"


def _costs(result: Result) -> tuple[float, int, int]:
    longest = max(result.measurements, key=lambda m: (m.task == LOSS_TASK, m.flops_per_token))
    nodes = sum(1 for _ in ast.walk(ast.parse(result.candidate.proposal.source)))
    return longest.flops_per_token, longest.state_bytes or 0, nodes


def _is_baseline(result: Result) -> bool:
    return result.candidate.proposal.origin == "baseline"


def _at_least(floor: float, noise: Noise) -> Noise:
    return Noise(max(floor, noise.deviation), noise.freedom)
