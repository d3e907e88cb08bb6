"""Percentiles are trtexec's; intervals hold what they promise."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edge_s4op.errors import MeasurementError
from edge_s4op.profiler.statistics import (
    is_precise,
    order_statistic_ranks,
    percentile,
    quantile_interval,
    summarize,
    trimmed_mean,
)


@pytest.mark.parametrize(
    ("n", "p", "rank"),  # rank counted from 1
    [
        (1, 50, 1),
        (1, 99, 1),
        (2, 50, 1),
        (3, 50, 2),
        (10, 90, 10),  # (1 - 0.9) 10 is just below 1 in float64
        (10, 0, 1),
        (10, 100, 10),
        (20, 95, 19),  # (1 - 0.95) 20 is just above 1
        (100, 90, 91),  # 9.99...
        (100, 95, 95),
        (100, 99, 99),
        (1000, 99, 990),
    ],
)
def test_percentiles_follow_the_rule(n: int, p: float, rank: int) -> None:
    assert percentile(np.arange(1.0, n + 1), p) == rank


def test_the_summary_of_a_known_stream() -> None:
    found = summarize([float(value) for value in reversed(range(1, 201))])
    assert (found.minimum, found.maximum, found.mean, found.median) == (1, 200, 100.5, 100.5)
    assert (found.p90, found.p95, found.p99, found.p99_9) == (181, 190, 198, 200)
    assert (found.median_interval.low, found.median_interval.high) == (86, 115)
    assert (found.p95_interval.low, found.p95_interval.high) == (184, 197)


def test_the_median_is_the_middle_sample_or_the_mean_of_two() -> None:
    assert summarize([3.0, 1.0, 9.0]).median == 3
    assert summarize([3.0, 1.0, 9.0, 4.0]).median == 3.5


@pytest.mark.parametrize("samples", [[], [1.0, math.nan], [math.inf], [-1.0, 2.0], [[1.0]]])
def test_what_is_no_latency_is_refused(samples: list[float]) -> None:
    with pytest.raises(MeasurementError, match="finite times"):
        summarize(samples)


@pytest.mark.parametrize(
    ("n", "ranks"),  # the published table of 95 % intervals for a median
    [
        (5, None),
        (6, (1, 6)),
        (8, (1, 8)),
        (9, (2, 8)),
        (10, (2, 9)),
        (12, (3, 10)),
        (15, (4, 12)),
        (20, (6, 15)),
        (25, (8, 18)),
        (30, (10, 21)),
        (50, (18, 33)),
        (100, (40, 61)),
    ],
)
def test_ranks_of_the_medians_interval(n: int, ranks: tuple[int, int] | None) -> None:
    assert order_statistic_ranks(n, 0.5, 0.95) == ranks


@pytest.mark.parametrize("q", [0.05, 0.5, 0.95])
@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.99, 0.9999])
@pytest.mark.parametrize("n", [1, 2, 7, 50, 73, 200, 500])
def test_ranks_are_the_tightest_that_hold_the_confidence(n: int, q: float, confidence: float) -> None:
    """Against tails summed in full from exact binomial coefficients."""
    terms = [math.comb(n, k) * q**k * (1 - q) ** (n - k) for k in range(n + 1)]
    tail = (1 - confidence) / 2
    low = max((rank for rank in range(1, n + 1) if math.fsum(terms[:rank]) <= tail), default=0)
    high = min((rank for rank in range(1, n + 1) if math.fsum(terms[rank:]) <= tail), default=n + 1)
    expected = (low, high) if low >= 1 and high <= n else None
    assert order_statistic_ranks(n, q, confidence) == expected


def test_ranks_of_many_samples_are_the_normal_approximations() -> None:
    n, z = 1_000_000, 1.959963985
    for q in (0.5, 0.95):
        low, high = order_statistic_ranks(n, q, 0.95) or (0, 0)
        half = z * math.sqrt(n * q * (1 - q))
        assert low == pytest.approx(n * q - half, abs=2)
        assert high == pytest.approx(n * q + 1 + half, abs=2)


def test_with_too_few_samples_the_interval_is_the_whole_range() -> None:
    interval = quantile_interval([1.0, 2.0, 5.0], 0.5, 0.95)
    assert (interval.low, interval.high) == (1, 5)
    p95 = quantile_interval(np.arange(71.0), 0.95, 0.95)
    assert (p95.low, p95.high) == (0, 70)
    assert quantile_interval(np.arange(72.0), 0.95, 0.95).low == 63


@pytest.mark.parametrize(("q", "z"), [(0.5, 0.0), (0.95, 1.6448536)])
def test_intervals_cover_the_true_quantile(q: float, z: float) -> None:
    streams = np.sort(np.random.default_rng(1).lognormal(0.0, 0.3, (400, 200)), axis=1)
    intervals = [quantile_interval(stream, q, 0.95) for stream in streams]
    covered = [interval.low <= math.exp(0.3 * z) <= interval.high for interval in intervals]
    assert np.mean(covered) >= 0.93


def test_intervals_are_not_wider_than_they_need_to_be() -> None:
    streams = np.sort(np.random.default_rng(2).lognormal(0.0, 0.3, (400, 200)), axis=1)
    covered = [i.low <= 1 <= i.high for i in (quantile_interval(s, 0.5, 0.5) for s in streams)]
    assert 0.4 <= np.mean(covered) <= 0.65  # an interval of 50 %


def test_precision_needs_enough_samples_for_an_interval() -> None:
    assert not is_precise([1.0] * 5, 0.02, 0.95)
    assert is_precise([1.0] * 6, 0.02, 0.95)


def test_precision_is_asked_of_either_side() -> None:
    low_tail = [0.9] * 3 + [1.0] * 7
    high_tail = [1.0] * 7 + [1.1] * 3
    for samples in (low_tail, high_tail):  # the interval of ten samples is x_2 to x_9
        assert not is_precise(samples, 0.099, 0.95)
        assert is_precise(samples, 0.101, 0.95)


def test_the_trimmed_mean_leaves_out_a_fifth_on_either_side() -> None:
    assert trimmed_mean(np.array([3.0, 100.0, 1.0, 2.0, 4.0])).mean == 3
    assert trimmed_mean(np.array([7.0])).mean == 7
    assert trimmed_mean(np.full(10, 7.0)).standard_error == 0


@pytest.mark.parametrize("n", [10, 30, 300])
def test_the_trimmed_means_standard_error_is_its_spread(n: int) -> None:
    streams = np.random.default_rng(3).lognormal(0.0, 0.2, (3000, n))
    found = [trimmed_mean(stream) for stream in streams]
    spread = np.std([each.mean for each in found])
    assert np.mean([each.standard_error for each in found]) == pytest.approx(spread, rel=0.12)


def test_two_levels_are_not_precise_because_chance_favours_one() -> None:
    """61 of 100 at the lower: the 95 % interval is wholly there, that of 99.9 % is not."""
    levels = np.repeat([1.0, 1.2], [61, 39])
    interval = quantile_interval(levels, 0.5, 0.95)
    assert interval.low == interval.high == 1
    assert not is_precise(levels, 0.02, 0.95)
    assert is_precise(np.repeat([1.0, 1.2], [80, 20]), 0.02, 0.95)
