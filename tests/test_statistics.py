"""The numbers of `statistics`, against published tables, closed forms, arithmetic and dice."""

import math
import random
from statistics import NormalDist, mean, stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from move37 import statistics
from move37.statistics import (
    SERIES,
    Interval,
    RunNoise,
    corrected_level,
    interval,
    residual_noise,
    run_noise,
    t_quantile,
)

# (probability, degrees of freedom, quantile): the usual table of Student's t.
TABLE = [
    (0.975, 1, 12.7062),
    (0.975, 2, 4.30265),
    (0.975, 3, 3.18245),
    (0.975, 4, 2.77645),
    (0.975, 5, 2.57058),
    (0.975, 10, 2.22814),
    (0.975, 30, 2.04227),
    (0.95, 7, 1.89458),
    (0.99, 8, 2.89646),
    (0.995, 9, 3.24984),
    (0.9995, 6, 5.95882),
    (0.975, 120, 1.97993),
]
TAILS = [0.6, 0.9, 0.975, 0.9995, 1 - 1e-6]


# ---------------------------------------------------------------- Student's t


@pytest.mark.parametrize(("probability", "freedom", "published"), TABLE)
def test_t_quantile_is_that_of_the_table(
    probability: float, freedom: int, published: float
) -> None:
    assert t_quantile(probability, freedom) == pytest.approx(published, abs=6e-6, rel=3e-6)


@pytest.mark.parametrize("probability", TAILS)
def test_t_quantile_with_one_degree_of_freedom_is_cauchys(probability: float) -> None:
    expected = math.tan(math.pi * (probability - 0.5))
    assert t_quantile(probability, 1) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("probability", TAILS)
def test_t_quantile_with_two_degrees_of_freedom_has_a_closed_form(probability: float) -> None:
    odds = 4 * probability * (1 - probability)
    expected = (2 * probability - 1) * math.sqrt(2 / odds)
    assert t_quantile(probability, 2) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("probability", TAILS)
def test_t_quantile_with_much_freedom_is_nearly_normal(probability: float) -> None:
    expected = NormalDist().inv_cdf(probability)
    assert t_quantile(probability, 10_000) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("freedom", [1, 2, 3, 8, 15, 40])
def test_integral_of_the_density_up_to_a_quantile_is_its_probability(freedom: int) -> None:
    """The slow twin: Simpson's rule on the density itself."""
    log_scale = math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)
    scale = math.exp(log_scale) / math.sqrt(freedom * math.pi)

    def density(t: float) -> float:
        return scale * math.pow(1 + t**2 / freedom, -(freedom + 1) / 2)

    steps = 2000
    width = t_quantile(0.975, freedom) / steps
    inner = sum((4 if i % 2 else 2) * density(i * width) for i in range(1, steps))
    integral = (density(0) + inner + density(steps * width)) * width / 3
    assert 0.5 + integral == pytest.approx(0.975, abs=1e-8)


def test_median_of_t_is_zero() -> None:
    assert t_quantile(0.5, 7) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(("probability", "freedom"), [(0.4, 3), (1.0, 3), (0.9, 0), (math.nan, 3)])
def test_t_quantile_refuses_what_it_cannot_answer(probability: float, freedom: int) -> None:
    with pytest.raises(ValueError, match=r"expected 0\.5 <= p < 1 and freedom >= 1"):
        t_quantile(probability, freedom)


# ---------------------------------------------------------------- noise


def test_noise_does_not_see_how_far_apart_the_mixers_are() -> None:
    near, far = [[1.0, 2.0], [3.0, 5.0]], [[1.0, 2.0], [1003.0, 1005.0]]
    assert residual_noise(far) == pytest.approx(residual_noise(near))


def test_noise_rests_on_the_fullest_table_of_mixers_and_seeds() -> None:
    full = [{0: 1.0, 1: 1.0}, {0: 3.0, 1: 5.0}]
    assert run_noise([*full, {0: 9.0}, {7: 1.0}, {}]) == residual_noise([[1.0, 1.0], [3.0, 5.0]])


@pytest.mark.parametrize("runs", [[], [{}], [{0: 1.0, 1: 2.0}], [{0: 1.0}, {0: 2.0, 1: 2.0}]])
def test_noise_needs_two_mixers_that_share_two_seeds(runs: list[dict[int, float]]) -> None:
    with pytest.raises(ValueError, match="two mixers that share two seeds"):
        run_noise(runs)


@given(
    st.lists(
        st.dictionaries(st.integers(0, 3), st.floats(-3, 3), max_size=4), min_size=2, max_size=12
    )
)
def test_noise_of_mixers_that_come_one_by_one_is_that_of_all(runs: list[dict[int, float]]) -> None:
    told = RunNoise()
    for run in runs:
        told = told.plus(run)
    try:
        expected = run_noise(runs)
    except ValueError:
        with pytest.raises(ValueError, match="two mixers that share two seeds"):
            told.noise()
        return
    assert told.noise().freedom == expected.freedom
    assert told.noise().deviation == pytest.approx(expected.deviation, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("probability", [0.975, 0.9999, 0.9999995])
@pytest.mark.parametrize("freedom", [SERIES, SERIES + 1, 3000])
def test_the_expansion_of_students_t_is_the_sum_of_its_series(
    probability: float, freedom: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    near = statistics._t_near_normal(probability, freedom)
    monkeypatch.setattr(statistics, "SERIES", 10**9)
    t_quantile.cache_clear()
    assert near == pytest.approx(t_quantile(probability, freedom), abs=1e-8)
    t_quantile.cache_clear()


# ---------------------------------------------------------------- intervals


def test_interval_by_hand() -> None:
    assert interval(10.0, 2.0, 4) == pytest.approx((10 - 2 * 2.77645, 10 + 2 * 2.77645), abs=1e-4)


def test_interval_excludes_what_lies_outside_and_not_its_ends() -> None:
    reach = Interval(-1.0, 2.0)
    assert [reach.excludes(x) for x in (-1.1, -1.0, 0.0, 2.0, 2.1)] == [
        True,
        False,
        False,
        False,
        True,
    ]


def test_interval_excludes_nan() -> None:
    assert Interval(-1.0, 2.0).excludes(math.nan)


@pytest.mark.parametrize("level", [0.8, 0.95])
@pytest.mark.parametrize("seeds", [2, 5])
def test_interval_holds_the_true_value_in_the_stated_share_of_cases(
    seeds: int, level: float
) -> None:
    rng = random.Random(0)
    cases, held = 2000, 0
    for _ in range(cases):
        values = [rng.gauss(7, 3) for _ in range(seeds)]
        error = stdev(values) / math.sqrt(seeds)
        held += not interval(mean(values), error, seeds - 1, level=level).excludes(7)
    # Three standard deviations of a share; the dice are fixed, so the answer is, too.
    assert held / cases == pytest.approx(level, abs=3 * math.sqrt(level * (1 - level) / cases))


def test_interval_from_noise_of_all_holds_the_true_value_in_the_stated_share_of_cases() -> None:
    """Three mixers of two seeds: each is judged by the noise of all."""
    rng = random.Random(1)
    cases, held = 1000, 0
    for _ in range(cases):
        groups = [[rng.gauss(true, 2) for _ in range(2)] for true in (0, 5, 9)]
        noise = residual_noise(groups)
        reach = interval(mean(groups[1]), noise.deviation / math.sqrt(2), noise.freedom)
        held += not reach.excludes(5)
    assert held / cases == pytest.approx(0.95, abs=0.02)


def test_a_higher_level_gives_a_wider_interval() -> None:
    reaches = [interval(0, 1, 5, level=level).high for level in (0.5, 0.9, 0.95, 0.999)]
    assert reaches == sorted(reaches)


# ---------------------------------------------------------------- corrections


@pytest.mark.parametrize(
    ("tried", "level"), [(0, 0.95), (1, 0.95), (2, 0.975), (10, 0.995), (50, 0.999)]
)
def test_corrected_level_is_bonferronis(tried: int, level: float) -> None:
    assert corrected_level(0.95, tried) == pytest.approx(level)


def test_sixteen_corrected_intervals_hold_together_where_sixteen_plain_ones_do_not() -> None:
    rng = random.Random(2)
    tried, freedom, cases = 16, 20, 1000
    plain = interval(0, 1, freedom).high
    wide = interval(0, 1, freedom, level=corrected_level(0.95, tried)).high
    farthest = []
    for _ in range(cases):
        # One t value per candidate that is no better than the reference.
        ts = [
            rng.gauss(0, 1) / math.sqrt(rng.gammavariate(freedom / 2, 2) / freedom)
            for _ in range(tried)
        ]
        farthest.append(max(abs(t) for t in ts))
    assert sum(t > plain for t in farthest) > cases / 2
    assert sum(t > wide for t in farthest) < 0.05 * cases + 3 * math.sqrt(0.05 * 0.95 * cases)


def test_residual_noise_by_hand() -> None:
    # Means: rows 1 and 4, columns 2 and 3; what is left is -0.5, 0.5, 0.5, -0.5.
    assert residual_noise([[1.0, 1.0], [3.0, 5.0]]) == pytest.approx((1.0, 1))


def test_what_a_seed_does_to_all_mixers_alike_is_no_noise() -> None:
    table = [[mixer + seed for seed in (0.0, 7.0, -2.0)] for mixer in (1.0, 5.0)]
    assert residual_noise(table) == pytest.approx((0.0, 2), abs=1e-12)


@pytest.mark.parametrize("table", [[], [[1.0, 2.0]], [[1.0], [2.0]]])
def test_residual_noise_needs_two_mixers_and_two_seeds(table: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="two mixers and two seeds"):
        residual_noise(table)
