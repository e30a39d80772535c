"""Seed noise, intervals, corrections, and the question whether more seeds are worth it. Pure.

One seed says little: two runs of one mixer differ by their seed. So the noise is estimated from
all mixers that were measured on the same seeds, what a seed does to all of them alike taken out,
and every number that is shown carries the interval that follows from it.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any, NamedTuple

SERIES = 400  # up to so many degrees of freedom, the series of Student's t is summed


class Noise(NamedTuple):
    """The standard deviation of one seed's result, and on how much it rests."""

    deviation: float
    freedom: int  # degrees of freedom


class Interval(NamedTuple):
    """A range that holds the true value in a stated share of cases."""

    low: float
    high: float

    def excludes(self, value: float) -> bool:
        """Says whether `value` lies outside."""
        return not self.low <= value <= self.high


def residual_noise(table: Sequence[Sequence[float]]) -> Noise:
    """Returns the noise of one run, from a table with a row per mixer and a column per seed.

    What a seed does to all mixers alike is taken out, as is each mixer's mean: what is left has
    (rows - 1) (columns - 1) degrees of freedom. So a noisy reference, which enters every
    difference, is not counted once per mixer. Raises ValueError for less than two of either.
    """
    rows, columns = len(table), len(table[0]) if table else 0
    if rows < 2 or columns < 2:
        raise ValueError(f"expected two mixers and two seeds at least, got {rows} and {columns}")
    total = sum(map(sum, table)) / (rows * columns)
    seeds = [sum(row[j] for row in table) / rows - total for j in range(columns)]
    squares = 0.0
    for row in table:
        mean = sum(row) / columns
        squares += sum((x - mean - seed) ** 2 for x, seed in zip(row, seeds, strict=True))
    freedom = (rows - 1) * (columns - 1)
    return Noise(math.sqrt(squares / freedom), freedom)


def run_noise(runs: Sequence[Mapping[int, float]]) -> Noise:
    """Returns the noise of one run, from the fullest table of mixers and seeds there is.

    `runs` holds for each mixer its value by seed; they need not have the same seeds. Raises
    ValueError if no two mixers share two seeds.
    """
    found = []
    for seeds in {tuple(sorted(run)) for run in runs}:
        rows = [[run[seed] for seed in seeds] for run in runs if run.keys() >= set(seeds)]
        if len(rows) > 1 and len(seeds) > 1:
            found.append(residual_noise(rows))
    if not found:
        raise ValueError("noise needs two mixers that share two seeds")
    return max(found, key=lambda noise: (noise.freedom, noise.deviation))


class Table(NamedTuple):
    """What the noise needs of a table of mixers by seeds, so that a row can be added to it."""

    first: tuple[float, ...]  # taken off every row: no noise changes, and the sums stay small
    rows: int
    squares: float  # of all values
    squared_means: float  # of all rows
    columns: tuple[float, ...]  # sums

    def plus(self, row: Sequence[float]) -> "Table":
        """Returns the table with one more row."""
        values = [value - first for value, first in zip(row, self.first, strict=True)]
        return Table(
            self.first,
            self.rows + 1,
            self.squares + sum(value**2 for value in values),
            self.squared_means + (sum(values) / len(values)) ** 2,
            tuple(one + value for one, value in zip(self.columns, values, strict=True)),
        )

    def noise(self) -> Noise:
        """Returns `residual_noise` of the rows; there have to be two."""
        columns = len(self.columns)
        seeds = [one / self.rows for one in self.columns]
        total = sum(seeds) / columns
        left = self.squares - columns * self.squared_means
        left += self.rows * (columns * total**2 - sum(seed**2 for seed in seeds))
        freedom = (self.rows - 1) * (columns - 1)
        return Noise(math.sqrt(max(0.0, left) / freedom), freedom)


@dataclass(frozen=True)
class RunNoise:
    """`run_noise` of mixers that come one after the other. `plus` changes nothing."""

    tables: Mapping[tuple[int, ...], Table] = field(default_factory=dict)  # by seeds
    runs: "tuple[Mapping[int, float], Any] | None" = None  # the last, and those before it

    def plus(self, run: Mapping[int, float]) -> "RunNoise":
        """Returns the noise with one more mixer's values by seed."""
        if len(run) < 2:
            return self  # it tells nothing about noise
        seeds = tuple(sorted(run))
        tables = {
            these: table.plus([run[seed] for seed in these]) if run.keys() >= set(these) else table
            for these, table in self.tables.items()
        }
        if seeds not in tables:
            rows = [[run[seed] for seed in seeds]]
            before = self.runs
            while before is not None:
                earlier, before = before
                if earlier.keys() >= set(seeds):
                    rows.append([earlier[seed] for seed in seeds])
            table = Table(tuple(rows[-1]), 0, 0.0, 0.0, (0.0,) * len(seeds))
            for row in reversed(rows):
                table = table.plus(row)
            tables[seeds] = table
        return RunNoise(tables, (run, self.runs))

    def noise(self) -> Noise:
        """Returns the noise of one run; raises ValueError if no two mixers share two seeds."""
        found = [table.noise() for table in self.tables.values() if table.rows > 1]
        if not found:
            raise ValueError("noise needs two mixers that share two seeds")
        return max(found, key=lambda noise: (noise.freedom, noise.deviation))


def interval(mean: float, error: float, freedom: int, *, level: float = 0.95) -> Interval:
    """Returns the two-sided Student t interval around `mean` with standard error `error`."""
    reach = t_quantile(0.5 + level / 2, freedom) * error
    return Interval(mean - reach, mean + reach)


def corrected_level(level: float, tried: int) -> float:
    """Returns the level that each of `tried` intervals needs so that all hold together.

    Bonferroni: sixteen candidates, each tested at 5 %, have one false success among them in
    more than half of the runs.
    """
    return 1 - (1 - level) / max(1, tried)


@functools.cache
def t_quantile(probability: float, freedom: int) -> float:
    """Returns the quantile of Student's t; exact for whole degrees of freedom, to 1e-8."""
    if not 0.5 <= probability < 1 or freedom < 1:
        raise ValueError(f"expected 0.5 <= p < 1 and freedom >= 1, got {probability}, {freedom}")
    if freedom > SERIES:
        return _t_near_normal(probability, freedom)
    low, high = 0.0, 1.0
    while _t_distribution(high, freedom) < probability:
        high *= 2
    while high - low > 1e-10 * (1 + high):
        middle = (low + high) / 2
        low, high = (
            (middle, high) if _t_distribution(middle, freedom) < probability else (low, middle)
        )
    return (low + high) / 2


def _t_near_normal(probability: float, freedom: int) -> float:
    """The expansion of the quantile around that of the normal distribution.

    Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.5.
    """
    z = NormalDist().inv_cdf(probability)
    coefficients = (
        ((1, 1), 4),
        ((3, 16, 5), 96),
        ((-15, 17, 19, 3), 384),
        ((-945, -1920, 1482, 776, 79), 92160),
    )
    t = z
    for n, (factors, divisor) in enumerate(coefficients, start=1):
        term = sum(factor * math.pow(z, 2 * i + 1) for i, factor in enumerate(factors))
        t += term / (divisor * freedom**n)
    return t


def _t_distribution(t: float, freedom: int) -> float:
    """P(T <= t) for t >= 0, by the finite series in the angle atan(t / sqrt(freedom)).

    Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4.
    """
    angle = math.atan(t / math.sqrt(freedom))
    cosine = math.cos(angle)
    if freedom % 2 == 0:
        term = total = math.sin(angle)
        for i in range(2, freedom, 2):
            term *= cosine**2 * (i - 1) / i
            total += term
        return 0.5 + total / 2
    total = angle
    if freedom > 1:
        term = math.sin(angle) * cosine
        total += term
        for i in range(3, freedom, 2):
            term *= cosine**2 * (i - 1) / i
            total += term
    return 0.5 + total / math.pi
