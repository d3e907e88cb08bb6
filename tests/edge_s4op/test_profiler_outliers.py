"""Outliers are named, with what the board did; a second level of latency is none."""

from __future__ import annotations

import numpy as np
import pytest

from edge_s4op.profiler.outliers import find_outliers


def quiet(n: int = 1000) -> np.ndarray:
    return np.random.default_rng(0).normal(5, 0.1, n)


def test_slow_samples_are_named_slowest_first() -> None:
    samples_ms = quiet()
    samples_ms[[10, 500, 999]] = [20, 40, 30]
    found = find_outliers(samples_ms, np.arange(1000) * 5.0, lambda at_ms: f"at {at_ms:g}")
    assert (found.count, found.share) == (3, 0.003)
    assert [(w.index, w.at_ms, w.latency_ms, w.board) for w in found.worst] == [
        (500, 2500, 40, "at 2500"),
        (999, 4995, 30, "at 4995"),
        (10, 50, 20, "at 50"),
    ]
    assert 5.3 < found.above_ms < 6.5


def test_at_most_ten_are_named_and_the_board_is_asked_for_these_only() -> None:
    samples_ms = quiet()
    samples_ms[:30] = 50 + np.arange(30)
    asked: list[float] = []
    found = find_outliers(samples_ms, np.arange(1000.0), lambda at_ms: asked.append(at_ms))  # type: ignore[func-returns-value]
    assert found.count == 30
    assert [worst.index for worst in found.worst] == list(range(29, 19, -1))
    assert asked == [float(index) for index in range(29, 19, -1)]


def test_without_telemetry_nothing_is_said_of_the_board() -> None:
    samples_ms = np.append(quiet(), 50.0)
    assert find_outliers(samples_ms, np.arange(1001.0)).worst[0].board is None


def test_normal_noise_has_next_to_none_and_fast_samples_are_none() -> None:
    samples_ms = np.random.default_rng(1).normal(5, 0.3, 100_000)
    samples_ms[:100] = 0.5
    assert find_outliers(samples_ms, np.arange(100_000.0)).count <= 3


@pytest.mark.parametrize("share", [0.1, 0.2])
def test_the_slower_of_two_levels_is_no_outlier(share: float) -> None:
    rng = np.random.default_rng(2)
    samples_ms = np.where(rng.random(1000) < share, 10.0, 5.0) * rng.lognormal(0, 0.02, 1000)
    samples_ms[7] = 40.0
    found = find_outliers(samples_ms, np.arange(1000.0))
    assert [worst.index for worst in found.worst] == [7]


def test_a_tick_of_a_coarse_clock_is_no_outlier() -> None:
    samples_ms = np.full(1000, 1.0)
    samples_ms[::10] = 1.05
    assert find_outliers(samples_ms, np.arange(1000.0)).count == 0


def test_a_single_sample_is_no_outlier() -> None:
    assert find_outliers(np.array([5.0]), np.array([5.0])).count == 0
