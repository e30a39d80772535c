"""How fit a candidate is: what it gains on DeltaNet, in units of seed noise.

Two gains are taken, as in the paper: on the loss (held-out text) and on the benchmark (mean score
of the other tasks), both relative to DeltaNet on the same seed after the same tokens.

`paper`  mean of sigmoid(6 gain / 10 %) for both, gains clipped to +-10 %, and the judgement.
`noise`  mean of asinh(gain / noise) for both: linear where a gain is as small as the noise,
         logarithmic where it is large, so that no single gain can buy all the others. Nothing
         is clipped. The judgement only breaks ties.
"""

import functools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from move37.records import REFERENCE, InputError
from move37.results import LOSS_TASK, Result
from move37.statistics import Interval, Noise, corrected_level, interval, run_noise

Form = Literal["noise", "paper"]
Verdict = Literal["better", "worse", "mixed", "open"]

AXES = ("loss", "benchmark")
TIES = 10  # values that are the same when multiplied by this and rounded
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
        tied = round(TIES * self.value) if self.form == "noise" else self.value
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


def shared_seeds(result: Result, reference: Result) -> tuple[int, ...]:
    """Returns the seeds on which both were trained."""
    return tuple(seed for seed in result.seeds if seed in reference.seeds)


def gains_on(reference: Result, result: Result) -> Gains:
    """Returns the gains on the seeds that both have, after the tokens that `result` used."""
    shared = shared_seeds(result, reference)
    if not shared:
        raise ValueError(f"{result.candidate.proposal.name} shares no seed with the reference")
    loss, benchmark = [], []
    for seed in shared:
        own, other = _pair(reference, result, LOSS_TASK, seed)
        loss.append((other - own) / other)
        pairs = [_pair(reference, result, task, seed) for task in result.benchmarks]
        own, other = (sum(both) / len(pairs) for both in zip(*pairs, strict=True))
        benchmark.append((own - other) / max(other, 1e-9))
    return Gains(tuple(loss), tuple(benchmark))


def _pair(reference: Result, result: Result, task: str, seed: int) -> tuple[float, float]:
    own, other = result.of(task, seed), reference.of(task, seed)
    if own.tokens == other.tokens:
        return own.value, other.value
    at = {point.tokens: point.value for point in other.curve}
    return own.value, at[own.tokens]  # stopped early: compared at the same place of the curve


def judgement_on(reference: Result, result: Result) -> float:
    """Returns 1 / (1 + cost), the cost relative to the reference.

    Counted, never asked: the geometric mean of the ratios of FLOPs per token, bytes of
    decoding state (where offered) and size of the program in tokens.
    """
    ratios = []
    for own, other in zip(_costs(result), _costs(reference), strict=True):
        if own and other:
            ratios.append(own / other)
    return 1 / (1 + math.prod(ratios) ** (1 / len(ratios)))


@dataclass(frozen=True)
class Scale:
    """Turns results into fitness, by one reference and one estimate of the noise.

    The noise is that of one run, from the mixers that were measured on the same seeds as the
    reference; a gain, being the difference of two runs, has the square root of two times it.
    """

    reference: Result
    noise: Mapping[str, Noise]  # of a gain, by axis
    best: Mapping[str, float]  # the best mean gain of a published mixer
    tried: int  # candidates that are no baselines
    judge_share: float = 0.0  # of the judgement: what a language model says, not what is counted
    grade: Callable[[str], float | None] = lambda candidate: None  # 0 to 1, by its id

    @classmethod
    def of(cls, measured: Sequence[Result], *, reference: str = REFERENCE) -> "Scale":
        """Returns the scale that lies in the results; see `search.board` for its fast twin.

        Raises Unscaled if the reference is not among them, or no other mixer shares two seeds
        with it.
        """
        named = {r.candidate.proposal.name: r for r in measured if r.is_baseline}
        if reference not in named:
            raise Unscaled(f"the reference {reference} was not measured, only {sorted(named)}")
        zero = named[reference]
        # Without a common seed there is nothing to compare.
        shared = {r.candidate.id: shared_seeds(r, zero) for r in measured}
        gains = [(r, gains_on(zero, r)) for r in measured if shared[r.candidate.id]]
        noise = {}
        for axis in AXES:
            runs = [by_seed(shared[r.candidate.id], each, axis) for r, each in gains]
            try:
                noise[axis] = noise_of_gains(run_noise(runs))
            except ValueError as error:
                raise Unscaled(str(error)) from None
        return cls(
            zero,
            noise,
            best_of([each for r, each in gains if r.is_baseline]),
            sum(not r.is_baseline for r in measured),
        )

    @property
    def freedom(self) -> int:
        """The degrees of freedom of the noise."""
        return min(noise.freedom for noise in self.noise.values())

    def compares(self, result: Result) -> bool:
        """Says whether the result shares a seed with the reference."""
        return bool(shared_seeds(result, self.reference))

    def gains(self, result: Result) -> Gains:
        """Returns the gains on the reference; raises ValueError if no seed is shared."""
        return gains_on(self.reference, result)

    def fitness(self, result: Result, form: Form = "noise") -> Fitness:
        """Returns the fitness of a result."""
        gains, judged = self.gains(result), self.judgement(result)
        means = {axis: _mean(getattr(gains, axis)) for axis in AXES}
        ranges = self._ranges(result, gains, 0.95)
        value, below, above = 0.0, 0.0, 0.0
        for axis, gain in means.items():
            term, low, high = terms(self, axis, np.array([gain, *ranges[axis]]), form).tolist()
            value += term
            below += (term - low) ** 2
            above += (term - high) ** 2
        if form == "paper":
            value += judged / 3
        # The ends of a sum of independent terms, from the ends of each (Zou and Donner 2008):
        # a term may bend, and its error need not be small.
        reach = Interval(value - math.sqrt(below), value + math.sqrt(above))
        surplus = max(means[axis] - self.best[axis] for axis in AXES)
        return Fitness(
            value,
            reach,
            means["loss"],
            means["benchmark"],
            judged,
            form,
            implausible=surplus > IMPLAUSIBLE_GAIN,
        )

    def values(self, gains: Sequence[Gains]) -> list[float]:
        """Returns the values of the fitness of these gains, in the noise form."""
        found = np.zeros(len(gains))
        for axis in AXES:
            means = np.array([_mean(getattr(one, axis)) for one in gains])
            found += terms(self, axis, means, "noise")
        values: list[float] = found.tolist()
        return values

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
        """Returns a number from 0 to 1, 0.5 for the reference: the counted cost, and the judge's
        grade in its share.

        A result without a grade, as baselines are, has the counted one alone.
        """
        counted = judgement_on(self.reference, result)
        return mixed(counted, self.grade(result.candidate.id), self.judge_share)

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


def terms(scale: Scale, axis: str, gains: np.ndarray, form: Form) -> np.ndarray:
    """Returns what mean gains on one axis add to the fitness."""
    found: np.ndarray
    if form == "noise":
        found = np.arcsinh(gains / scale.noise[axis].deviation) / 2
    else:
        found = 1 / (1 + np.exp(-6 * np.clip(gains, -0.1, 0.1) / 0.1)) / 3
    return found


def mixed(counted: float, asked: float | None, share: float) -> float:
    """Returns the judgement of which a language model has a share."""
    return counted if asked is None else (1 - share) * counted + share * asked


def by_seed(seeds: Sequence[int], gains: Gains, axis: str) -> dict[int, float]:
    """Returns the gains on one axis."""
    return dict(zip(seeds, getattr(gains, axis), strict=True))


def noise_of_gains(run: Noise) -> Noise:
    """Returns the noise of a gain, the difference of two runs, from that of a run."""
    # Not zero, or a gain could not be divided by it.
    return Noise(max(1e-6, math.sqrt(2) * run.deviation), run.freedom)


def best_of(published: Sequence[Gains]) -> dict[str, float]:
    """Returns the best mean gain on each axis."""
    return {axis: max(_mean(getattr(gains, axis)) for gains in published) for axis in AXES}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _costs(result: Result) -> tuple[float, int, int]:
    longest = max(result.measurements, key=lambda m: (m.task == LOSS_TASK, m.flops_per_token))
    size = _program_size(result.candidate.proposal.source)
    return longest.flops_per_token, longest.state_bytes or 0, size


# A token, the usual ones first, and what does not count behind it.
_LEXEME = re.compile(
    r"""
    (?: [a-zA-Z_]\w*+ (?! ["'] )
      | [(),.\[\]{}] (?! [.\d] )
      | [rRbBuUfF]{0,2} (?: \"{3} (?: [^\\"]++ | \\. | " (?! "" ) )*+ \"{3}
                          | '{3} (?: [^\\']++ | \\. | ' (?! '' ) )*+ '{3}
                          | \" (?: [^\"\\\n]++ | \\. )*+ \" | ' (?: [^'\\\n]++ | \\. )*+ ' )
      | (?: \d | \.\d ) (?: [eE] [+-] | [\w.] )*
      | \w+
      | \*\*= | //= | >>= | <<= | \.{3} | != | -> | := | \*\* | // | >> | << | [-+*/%&|^=<>@]=
      | . )
    \s*+ (?: (?: \\ \r?\n | \#[^\n]*+ ) \s*+ )*+
    """,
    re.VERBOSE | re.DOTALL,
)


@functools.lru_cache(maxsize=4096)
def _program_size(source: str) -> int:
    """Returns the number of tokens; comments and layout do not count, a docstring counts one."""
    return len(_LEXEME.findall(f";\n{source}")) - 1
