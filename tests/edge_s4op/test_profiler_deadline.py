"""How a deadline is kept: the share with an exact interval, and whether misses cluster."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from edge_s4op.profiler.deadline import are_clustered, deadline_of, share_interval
from edge_s4op.profiler.statistics import percentile


def test_what_is_said_of_a_known_stream() -> None:
    samples_ms = np.array([1, 5, 6, 1, 1, 9, 7, 8, 4, 1], dtype=float)
    found = deadline_of(samples_ms, np.arange(10) * 10.0, 4.0, lambda at_ms: f"busy at {at_ms:g}")
    assert (found.deadline_ms, found.misses, found.share, found.longest_run) == (4, 5, 0.5, 3)
    assert found.p99_9_ms == 9
    worst = found.worst
    assert (worst.index, worst.at_ms, worst.latency_ms, worst.board) == (5, 50, 9, "busy at 50")
    assert not found.clustered  # two runs of five misses: 1 random order of 6


def test_a_deadline_kept_always() -> None:
    found = deadline_of(np.ones(1000), np.arange(1000.0), 2.0)
    assert (found.misses, found.share, found.longest_run, found.clustered) == (0, 0, 0, False)
    assert found.share_interval.low == 0
    assert found.share_interval.high == pytest.approx(1 - 0.025 ** (1 / 1000))
    assert found.worst.board is None


def test_a_deadline_kept_never() -> None:
    found = deadline_of(np.ones(50), np.arange(50.0), 0.5)
    assert (found.misses, found.share, found.longest_run, found.clustered) == (50, 1, 50, False)
    assert found.share_interval.high == 1


@pytest.mark.parametrize(("count", "n"), [(1, 10), (5, 10), (9, 10), (3, 200), (100, 200), (7, 300)])
def test_the_interval_solves_its_equations(count: int, n: int) -> None:
    """Against tails summed in full from exact binomial coefficients."""
    interval = share_interval(count, n)

    def tail(p: float, counts: range) -> float:
        return math.fsum(math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in counts)

    assert tail(interval.low, range(count, n + 1)) == pytest.approx(0.025, rel=1e-6)
    assert tail(interval.high, range(count + 1)) == pytest.approx(0.025, rel=1e-6)


def test_the_interval_of_many_is_the_normal_approximations() -> None:
    interval = share_interval(50_000, 100_000)
    assert interval.low == pytest.approx(0.5 - 1.96 * math.sqrt(0.25 / 100_000), abs=1e-5)
    assert interval.high == pytest.approx(0.5 + 1.96 * math.sqrt(0.25 / 100_000), abs=1e-5)


@pytest.mark.parametrize(("misses", "hits"), [(3, 9), (5, 7), (8, 4), (2, 12)])
def test_clusters_are_what_few_random_orders_have(misses: int, hits: int) -> None:
    """Against all orders, counted."""
    n = misses + hits
    runs = [
        sum(1 for place in chosen if place - 1 not in chosen)
        for chosen in itertools.combinations(range(n), misses)
    ]
    for seen in range(1, misses + 1):
        chance = sum(each <= seen for each in runs) / len(runs)
        assert are_clustered(misses, hits, seen) == (chance <= 0.01)


def test_misses_in_a_burst_are_clustered_and_scattered_ones_are_not() -> None:
    burst, scattered = np.ones(1000), np.ones(1000)
    burst[300:320] = 9.0
    scattered[::50] = 9.0
    assert deadline_of(burst, np.arange(1000.0), 5.0).clustered
    assert deadline_of(burst, np.arange(1000.0), 5.0).longest_run == 20
    assert not deadline_of(scattered, np.arange(1000.0), 5.0).clustered


def test_random_misses_are_rarely_called_clustered() -> None:
    rng = np.random.default_rng(0)
    calls = [deadline_of(rng.random(300), np.arange(300.0), 0.9).clustered for _ in range(500)]
    assert np.mean(calls) <= 0.02


def test_p99_9_is_trtexecs() -> None:
    samples_ms = np.random.default_rng(0).random(5000)
    found = deadline_of(samples_ms, np.arange(5000.0), 0.5)
    assert found.p99_9_ms == percentile(np.sort(samples_ms), 99.9)
