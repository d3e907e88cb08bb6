"""Warm-up ends when latency has settled: soon on noise of any kind, not while it falls."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edge_s4op.profiler.settling import Settling

Noise = Callable[[np.random.Generator, int], np.ndarray]

NOISE: dict[str, Noise] = {
    "none": lambda rng, n: np.ones(n),
    "normal": lambda rng, n: rng.normal(1, 0.03, n),
    "log-normal": lambda rng, n: rng.lognormal(0, 0.1, n),
    "heavy tails": lambda rng, n: 1 + 0.03 * np.abs(rng.standard_t(2, n)),
    "two levels": lambda rng, n: np.where(rng.random(n) < 0.5, 1.0, 1.2) * rng.lognormal(0, 0.02, n),
    "outliers": lambda rng, n: np.where(rng.random(n) < 0.05, 10.0, 1.0) * rng.lognormal(0, 0.05, n),
}


def settled_after(latencies_ms: np.ndarray, least: int = 0) -> int | None:
    """Runs until settled; None: never."""
    settling = Settling()
    for count, latency_ms in enumerate(latencies_ms, 1):
        settling.add(float(latency_ms))
        if count >= least and settling.is_settled:
            return count
    return None


def test_nothing_has_settled_at_first() -> None:
    assert not Settling().is_settled


@pytest.mark.parametrize("noise", NOISE)
def test_steady_latency_settles_within_a_thousand_runs(noise: str) -> None:
    counts = [settled_after(NOISE[noise](np.random.default_rng(seed), 2000)) for seed in range(100)]
    found = [count for count in counts if count is not None]
    assert len(found) == 100
    assert np.median(found) <= 1000


def test_a_quiet_device_settles_at_the_fewest_runs() -> None:
    counts = [settled_after(np.random.default_rng(seed).normal(1, 0.01, 500)) for seed in range(100)]
    assert max(count or 500 for count in counts) <= 150


@pytest.mark.parametrize("sigma", [0.01, 0.05])
def test_a_slow_model_settles_within_few_runs(sigma: float) -> None:
    """16 runs of 300 ms are all that 5 s of warm-up allow."""
    counts = [settled_after(300 * np.random.default_rng(seed).lognormal(0, sigma, 16)) for seed in range(100)]
    assert sum(count is not None for count in counts) >= 90


@pytest.mark.parametrize("above", [0.3, 1.0])
@pytest.mark.parametrize("runs", [50, 100, 300])
@pytest.mark.parametrize("sigma", [0.0, 0.03])
def test_latency_that_still_falls_has_not_settled(above: float, runs: int, sigma: float) -> None:
    """exp(-count / runs) above its last level; what is left of it when settled is 3 % at most, mostly."""
    left = []
    for seed in range(60):
        falling = 1 + above * np.exp(-np.arange(4000) / runs)
        count = settled_after(falling * np.random.default_rng(seed).lognormal(0, sigma, 4000))
        left.append(falling[count - 1] - 1 if count else 0.0)
    assert np.mean(np.array(left) <= 0.03) >= 0.95


def test_a_slow_model_that_still_falls_has_not_settled() -> None:
    falling = 300 * (1 + np.exp(-np.arange(16) / 5))
    count = settled_after(falling)
    assert count is None or falling[count - 1] <= 1.05 * 300


def test_a_step_after_it_had_settled_unsettles_it() -> None:
    settling = Settling()
    for latency_ms in [1.0] * 200 + [1.5] * 60:
        settling.add(latency_ms)
    assert not settling.is_settled


def test_looking_at_many_latencies_costs_little_each() -> None:
    """The counts at which all are looked at grow in proportion."""
    looked: list[int] = []

    class Counting(Settling):
        def _agree(self) -> bool:
            looked.append(len(self._latencies_ms))
            return super()._agree()

    settling = Counting()
    for _ in range(20_000):
        settling.add(1.0)
    assert sum(looked) < 10 * 20_000
