"""Two levels of latency are told from one, however the one is skewed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edge_s4op.profiler.modes import border_between_modes, find_modes


def two_levels(rng: np.random.Generator, n: int, share: float, ratio: float, sigma: float) -> np.ndarray:
    return 5 * np.where(rng.random(n) < share, ratio, 1.0) * rng.lognormal(0, sigma, n)


@pytest.mark.parametrize(
    ("share", "ratio", "sigma", "n"),
    [
        (0.5, 1.15, 0.03, 300),
        (0.3, 1.15, 0.03, 500),
        (0.1, 1.15, 0.02, 500),
        (0.9, 1.15, 0.02, 500),
        (0.1, 1.15, 0.03, 2000),
        (0.4, 2.0, 0.02, 300),
    ],
)
def test_two_levels_are_found_with_their_medians_and_shares(
    share: float, ratio: float, sigma: float, n: int
) -> None:
    found = [
        find_modes(two_levels(np.random.default_rng(seed), n, share, ratio, sigma)) for seed in range(100)
    ]
    pairs = [modes for modes in found if len(modes) == 2]
    assert len(pairs) >= 95
    assert np.median([slower.share for _, slower in pairs]) == pytest.approx(share, abs=0.05)
    assert np.median([faster.median_ms for faster, _ in pairs]) == pytest.approx(5, rel=0.03)
    assert np.median([slower.median_ms for _, slower in pairs]) == pytest.approx(5 * ratio, rel=0.03)
    assert all(faster.share + slower.share == pytest.approx(1) for faster, slower in pairs)


ONE_LEVEL: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "normal": lambda rng: rng.normal(5, 0.3, 300),
    "log-normal": lambda rng: rng.lognormal(0, 0.3, 300),
    "exponential above a floor": lambda rng: 1 + rng.exponential(0.1, 300),
    "heavy tails": lambda rng: 1 + 0.05 * np.abs(rng.standard_t(2, 300)),
    "Pareto": lambda rng: 1 + rng.pareto(3, 1000),
    "uniform": lambda rng: rng.uniform(4, 5, 300),
    "coarse clock": lambda rng: np.round(rng.lognormal(0, 0.05, 1000) * 40) / 40,
    "coarser clock": lambda rng: np.round(rng.lognormal(0, 0.05, 1000) * 10) / 10,
    "fine clock": lambda rng: np.round(rng.lognormal(0, 0.05, 5000) * 1000) / 1000,
    "3 % outliers": lambda rng: np.where(rng.random(300) < 0.03, 3, 1) * rng.lognormal(0, 0.05, 300),
}


@pytest.mark.parametrize("kind", ONE_LEVEL)
def test_one_level_is_one_mode(kind: str) -> None:
    found = [find_modes(ONE_LEVEL[kind](np.random.default_rng(seed))) for seed in range(200)]
    assert np.mean([len(modes) == 2 for modes in found]) <= 0.04


def test_one_mode_is_all_samples() -> None:
    samples_ms = np.random.default_rng(0).normal(5, 0.1, 301)
    (mode,) = find_modes(samples_ms)
    assert (mode.median_ms, mode.share) == (np.median(samples_ms), 1)


def test_levels_a_percent_apart_are_one() -> None:
    assert len(find_modes(two_levels(np.random.default_rng(0), 2000, 0.5, 1.01, 0.001))) == 1
    assert len(find_modes(two_levels(np.random.default_rng(0), 2000, 0.5, 1.03, 0.001))) == 2


@pytest.mark.parametrize("samples_ms", [np.zeros(100), np.full(100, 5.0), np.array([1.0, 2.0])])
def test_what_has_no_spread_or_is_few_is_one_mode(samples_ms: np.ndarray) -> None:
    assert len(find_modes(samples_ms)) == 1


def test_the_border_lies_between_the_levels() -> None:
    border = border_between_modes(two_levels(np.random.default_rng(0), 1000, 0.5, 1.5, 0.02))
    assert border is not None
    assert 5.4 < border < 7.1
