"""Drift of 5 % is found whatever its shape; steady latency has none, however it is distributed."""

from __future__ import annotations

import numpy as np
import pytest

from edge_s4op.messages import Drift
from edge_s4op.profiler.drift import find_drift


def drift_of(samples_ms: np.ndarray) -> Drift | None:
    return find_drift(samples_ms, np.cumsum(samples_ms))


def noise(seed: int, n: int = 600, sigma: float = 0.05) -> np.ndarray:
    return np.random.default_rng(seed).lognormal(np.log(5), sigma, n)


@pytest.mark.parametrize("change", [0.05, -0.05, 0.3])
def test_a_line_is_found_with_its_size_and_sign(change: float) -> None:
    found = [drift_of(noise(seed) * (1 + change * np.linspace(0, 1, 600))) for seed in range(100)]
    drifts = [drift for drift in found if drift is not None]
    assert len(drifts) >= 95
    assert np.median([drift.change for drift in drifts]) == pytest.approx(change / (1 + change / 2), rel=0.15)
    assert all((drift.interval.low > 0) == (drift.interval.high > 0) == (change > 0) for drift in drifts)


@pytest.mark.parametrize("at", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("change", [0.08, -0.08])
def test_a_step_is_found_wherever_it_is(at: float, change: float) -> None:
    found = [drift_of(noise(seed) * (1 + change * (np.arange(600) >= at * 600))) for seed in range(100)]
    drifts = [drift for drift in found if drift is not None]
    assert len(drifts) >= 95
    assert np.median([drift.change for drift in drifts]) == pytest.approx(change, rel=0.2)


def test_the_interval_holds_the_drift() -> None:
    true = 0.2 / 1.1  # over the median, which is the level half way
    found = [drift_of(noise(seed) * (1 + 0.2 * np.linspace(0, 1, 600))) for seed in range(200)]
    held = [drift is not None and drift.interval.low <= true <= drift.interval.high for drift in found]
    assert np.mean(held) >= 0.95


def test_time_counts_and_not_the_number() -> None:
    """Latency grows with time, and most samples are taken in the first tenth of it."""
    at_ms = np.concatenate([np.linspace(0, 100, 500), np.linspace(100, 1000, 100)])
    drift = find_drift(noise(0, sigma=0.01) * (1 + 0.5 * at_ms / 1000), at_ms)
    assert drift is not None
    assert drift.change == pytest.approx(0.5 / 1.05, rel=0.2)


STEADY = {
    "log-normal": lambda rng: rng.lognormal(0, 0.1, 300),
    "two levels": lambda rng: np.where(rng.random(300) < 0.3, 1.2, 1.0) * rng.lognormal(0, 0.03, 300),
    "heavy tails": lambda rng: 1 + 0.05 * np.abs(rng.standard_t(2, 300)),
    "few": lambda rng: rng.lognormal(0, 0.1, 40),
}


@pytest.mark.parametrize("kind", STEADY)
def test_steady_latency_has_no_drift(kind: str) -> None:
    alarms = [drift_of(STEADY[kind](np.random.default_rng(seed))) is not None for seed in range(300)]
    assert np.mean(alarms) <= 0.04


def test_a_drift_that_changes_no_decision_is_not_reported() -> None:
    assert drift_of(noise(0, 5000, 0.001) * (1 + 0.015 * np.linspace(0, 1, 5000))) is None
    assert drift_of(noise(0, 5000, 0.001) * (1 + 0.025 * np.linspace(0, 1, 5000))) is not None


def test_one_very_slow_sample_is_no_drift() -> None:
    samples_ms = noise(1, 300, 0.01)
    samples_ms[-1] = 1000.0
    assert drift_of(samples_ms) is None


@pytest.mark.parametrize("samples_ms", [np.zeros(100), np.full(100, 5.0), np.full(5, 5.0)])
def test_latency_that_never_changes_has_no_drift(samples_ms: np.ndarray) -> None:
    assert drift_of(samples_ms) is None


def test_a_noiseless_step_is_a_drift() -> None:
    drift = drift_of(np.repeat([5.0, 6.0], 150))
    assert drift is not None
    assert drift.change == pytest.approx(1 / 5.5)
