"""How fit a candidate is: what it gains on DeltaNet, in units of seed noise.

Two gains are taken, as in the paper: on the loss (held-out text) and on the benchmark (mean score
of the other tasks), both relative to DeltaNet on the same seed after the same tokens.

`paper`  mean of sigmoid(6 gain / 10 %) for both, gains clipped to +-10 %, and the judgement.
`noise`  mean of asinh(gain / noise) for both: linear where a gain is as small as the noise,
         logarithmic where it is large, so that no single gain can buy all the others. Nothing
         is clipped. The judgement only breaks ties.
"""

import functools
import io
import math
import tokenize
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from move37.records import REFERENCE, InputError
from move37.results import LOSS_TASK, Result
from move37.statistics import Interval, Noise, corrected_level, interval, run_noise

Form = Literal["noise", "paper"]
Verdict = Literal["better", "worse", "mixed", "open"]

AXES = ("loss", "benchmark")
# So much more than the best baseline gains is sent back to the verifier, not believed at once.
IMPLAUSIBLE_GAIN = 0.10


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
    form: Form
    implausible: bool  # gains so much that a fault is likelier than a discovery

    @property
    def rank_key(self) -> tuple[float, float, float]:
        """Sorts candidates, greater is fitter.

        In the noise form, differences below a tenth are ties, which the judgement breaks; the
        paper's form holds the judgement already.
        """
        tied = round(self.value, 1) if self.form == "noise" else self.value
        return (tied, self.judgement, self.value)


def form_of(word: str) -> Form:
    """Returns the form of that name; raises InputError naming those there are."""
    for form in get_args(Form):
        if form == word:
            found: Form = form
            return found
    raise InputError(f"unknown fitness {word!r}: expected one of {', '.join(get_args(Form))}")


class Unscaled(ValueError):
    """The results hold no scale: the reference, or the noise, is missing."""


class Scale:
    """Turns results into fitness, by one reference and one estimate of the noise.

    The noise is that of one run, from the mixers that were measured on the same seeds as the
    reference; a gain, being the difference of two runs, has the square root of two times it.
    Raises Unscaled if the reference is not among the results, or no other mixer shares two
    seeds with it.
    """

    def __init__(self, measured: Sequence[Result], *, reference: str = REFERENCE) -> None:
        named = {r.candidate.proposal.name: r for r in measured if r.is_baseline}
        if reference not in named:
            raise Unscaled(f"the reference {reference} was not measured, only {sorted(named)}")
        self.reference = named[reference]
        seeds = set(self.reference.seeds)
        # Without a common seed there is nothing to compare.
        self.measured = [r for r in measured if seeds & set(r.seeds)]
        self.noise: Mapping[str, Noise] = {axis: self._noise(axis) for axis in AXES}
        published = [self.gains(r) for r in self.measured if r.is_baseline]
        self._best = {axis: max(_mean(getattr(g, axis)) for g in published) for axis in AXES}
        self.freedom = min(noise.freedom for noise in self.noise.values())
        self.tried = sum(not r.is_baseline for r in measured)

    def _noise(self, axis: str) -> Noise:
        """Returns the noise of a gain, the difference of two runs."""
        gains = [
            dict(zip(self._shared(r), getattr(self.gains(r), axis), strict=True))
            for r in self.measured
        ]
        try:
            run = run_noise(gains)
        except ValueError as error:
            raise Unscaled(str(error)) from None
        # Not zero, or a gain could not be divided by it.
        return Noise(max(1e-6, math.sqrt(2) * run.deviation), run.freedom)

    def _shared(self, result: Result) -> tuple[int, ...]:
        return tuple(seed for seed in result.seeds if seed in self.reference.seeds)

    def gains(self, result: Result) -> Gains:
        """Returns the gains on the seeds that both have, after the tokens that `result` used."""
        shared = self._shared(result)
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
        means = {axis: _mean(getattr(gains, axis)) for axis in AXES}
        ranges = self._ranges(result, gains, 0.95)
        value, below, above = 0.0, 0.0, 0.0
        for axis, gain in means.items():
            term = self._term(axis, gain, form)
            value += term
            below += (term - self._term(axis, ranges[axis].low, form)) ** 2
            above += (term - self._term(axis, ranges[axis].high, form)) ** 2
        if form == "paper":
            value += judged / 3
        # The ends of a sum of independent terms, from the ends of each (Zou and Donner 2008):
        # a term may bend, and its error need not be small.
        reach = Interval(value - math.sqrt(below), value + math.sqrt(above))
        surplus = max(means[axis] - self._best[axis] for axis in AXES)
        return Fitness(
            value,
            reach,
            means["loss"],
            means["benchmark"],
            judged,
            form,
            implausible=surplus > IMPLAUSIBLE_GAIN,
        )

    def _term(self, axis: str, gain: float, form: Form) -> float:
        if form == "noise":
            return math.asinh(gain / self.noise[axis].deviation) / 2
        clipped = min(max(gain, -0.1), 0.1)
        return 1 / (1 + math.exp(-6 * clipped / 0.1)) / 3

    def _ranges(self, result: Result, gains: Gains, level: float) -> dict[str, Interval]:
        """Returns the interval of each axis' mean gain."""
        ranges = {}
        for axis in AXES:
            values = getattr(gains, axis)
            error = self.noise[axis].deviation / math.sqrt(len(values))
            if result is self.reference:
                error = 0.0  # zero by definition, not by measurement
            ranges[axis] = interval(_mean(values), error, self.freedom, level=level)
        return ranges

    def judgement(self, result: Result) -> float:
        """Returns 1 / (1 + cost), the cost relative to the reference.

        Counted, never asked: the geometric mean of the ratios of FLOPs per token, bytes of
        decoding state (where offered) and size of the program in tokens.
        """
        ratios = []
        for own, other in zip(_costs(result), _costs(self.reference), strict=True):
            if own and other:
                ratios.append(own / other)
        return 1 / (1 + math.prod(ratios) ** (1 / len(ratios)))

    def verdict(self, result: Result) -> Verdict:
        """Compares with the reference, axis by axis.

        A claim ("better", "worse") has to hold on one axis at a level that is corrected for both
        axes of all candidates that were tried. An objection from the other axis needs no more
        than 95 %: it makes the verdict "mixed". It is no discovery yet: that takes fresh seeds.
        """
        gains = self.gains(result)
        level = corrected_level(0.95, len(AXES) * self.tried)
        claims = self._ranges(result, gains, level).values()
        objections = self._ranges(result, gains, 0.95).values()
        above = any(reach.low > 0 for reach in claims)
        below = any(reach.high < 0 for reach in claims)
        if above and any(reach.high < 0 for reach in objections):
            return "mixed"
        if below and any(reach.low > 0 for reach in objections):
            return "mixed"
        return "better" if above else "worse" if below else "open"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _costs(result: Result) -> tuple[float, int, int]:
    longest = max(result.measurements, key=lambda m: (m.task == LOSS_TASK, m.flops_per_token))
    size = _program_size(result.candidate.proposal.source)
    return longest.flops_per_token, longest.state_bytes or 0, size


@functools.lru_cache(maxsize=4096)
def _program_size(source: str) -> int:
    """Returns the number of tokens; comments and layout do not count, a docstring counts one."""
    silent = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return sum(token.type not in silent for token in tokens)
