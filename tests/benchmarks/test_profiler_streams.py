"""What the profiler benchmark counts is seeded, and holds on few runs already."""

from __future__ import annotations

import math

import pytest

from benchmarks import profiler_streams as streams


def test_the_true_median_is_covered() -> None:
    assert min(streams.coverage(100).values()) >= 0.88


def test_drift_and_two_modes_are_found() -> None:
    assert min(streams.drift_found(50).values()) >= 0.86
    assert min(streams.bimodality_found(50).values()) >= 0.86


def test_alarms_are_rarely_false() -> None:
    assert max(streams.false_alarms(50).values()) <= 0.1


def test_a_seed_gives_the_same_figures_again() -> None:
    assert streams.coverage(20, seed=3) == streams.coverage(20, seed=3)
    assert streams.drift_found(20, seed=3) == streams.drift_found(20, seed=3)


def test_bimodal_streams_have_the_medians_their_names_say() -> None:
    assert streams.MEDIANS["bimodal, one in two"].median(1) == pytest.approx(math.sqrt(1.2))
    assert streams.MEDIANS["drifting"].median(1) == pytest.approx(1)
