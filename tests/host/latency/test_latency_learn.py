from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from edge_s4op.errors import MeasurementError
from host.latency.learn import learn_curve
from tests.host.latency.curves import SHAPE, Bench, cliff_at, straight


def test_a_straight_curve_costs_only_the_coarse_grid() -> None:
    bench = Bench(straight)
    curve = learn_curve(SHAPE, bench)
    assert bench.counts == {1, 16, 32, 48, 64}
    assert curve.cliffs == ()
    assert curve.ms()[1:] == pytest.approx([straight(kept) for kept in range(1, 65)])


@pytest.mark.parametrize("count", [5, 16, 23, 31, 32, 40, 63])
def test_a_cliff_is_found_at_its_count(count: int) -> None:
    curve = learn_curve(SHAPE, Bench(cliff_at(count)))
    assert curve.cliffs == (count,)
    assert len(curve.points) <= 16
    expected = [cliff_at(count)(kept) for kept in range(1, 65)]
    assert curve.ms()[1:] == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("count", [1, 6, 34, 201, 255, 385, 511])
def test_a_cliff_of_a_wide_layer_is_found_within_the_same_points(count: int) -> None:
    wide = replace(SHAPE, num_channels=512)
    curve = learn_curve(wide, Bench(lambda kept: 1.0 + 0.005 * kept + (1.5 if kept > count else 0.0)))
    assert curve.cliffs == (count,)
    assert len(curve.points) <= 16


def test_waves_are_found_at_the_multiples_of_the_first() -> None:
    wide = replace(SHAPE, num_channels=128)
    curve = learn_curve(wide, Bench(lambda kept: 1.0 + math.ceil(kept / 32)))
    assert curve.cliffs == (32, 64, 96)
    assert curve.ms()[1:].tolist() == [1.0 + math.ceil(kept / 32) for kept in range(1, 129)]


@pytest.mark.parametrize("channels", [4, 8, 12])
def test_the_steps_of_a_small_straight_layer_are_no_cliffs(channels: int) -> None:
    """One operator of four is a quarter of the time, and of the next one's too."""
    small = replace(SHAPE, num_channels=channels)
    assert learn_curve(small, Bench(lambda kept: 0.01 + 0.1 * kept)).cliffs == ()


def test_a_count_whose_next_is_cheaper_is_no_cliff() -> None:
    """The layer that keeps all its operators needs no Gather: it takes less than with one operator fewer."""
    curve = learn_curve(SHAPE, Bench(lambda kept: straight(kept) - (2.0 if kept == 64 else 0.0)))
    assert curve.cliffs == ()
    assert curve.ms()[63] == pytest.approx(straight(63))


def test_the_best_plan_below_a_cliff_stands_just_under_it() -> None:
    curve = learn_curve(SHAPE, Bench(lambda kept: 2.0 if kept <= 40 else 4.0))
    affordable = np.flatnonzero(curve.ms() <= 3.0)
    assert affordable[-1] == 40


def test_a_bend_is_refined_where_it_is() -> None:
    curve = learn_curve(SHAPE, Bench(lambda kept: 1.0 + max(0, kept - 20) * 0.2))
    errors = [abs(curve.ms()[k] - (1.0 + max(0, k - 20) * 0.2)) for k in range(1, 65)]
    assert max(errors) < 0.05 * curve.ms()[64]
    assert curve.cliffs == ()


def test_the_number_of_points_is_limited() -> None:
    jagged = Bench(lambda kept: 1.0 + 3.0 * (kept * 7919 % 13 > 6))
    assert len(learn_curve(SHAPE, jagged, max_points=9).points) == 9


def test_what_a_device_said_while_it_throttled_is_measured_again() -> None:
    """Slow from the third call to the eighth, within which the anchor is looked at."""
    bench = Bench(straight, slow=lambda call: 1.6 if 3 <= call <= 8 else 1.0)
    curve = learn_curve(SHAPE, bench)
    assert any(fresh for _, fresh in bench.calls)
    assert curve.ms()[1:] == pytest.approx([straight(kept) for kept in range(1, 65)])
    assert not any(point.disturbed for point in curve.points)


def test_what_stays_unsteady_is_marked() -> None:
    """The device gets slower and slower: no repetition helps, and the points say so."""
    curve = learn_curve(SHAPE, Bench(straight, slow=lambda call: 1.1**call))
    assert any(point.disturbed for point in curve.points)


def test_a_count_that_cannot_be_measured_is_left_out() -> None:
    curve = learn_curve(SHAPE, Bench(straight, broken=frozenset({16, 32})))
    assert [point.kept for point in curve.points] == [1, 48, 64]


def test_a_device_that_measures_nothing_ends_it() -> None:
    with pytest.raises(MeasurementError, match="could not be learned; expected at least two"):
        learn_curve(SHAPE, Bench(straight, broken=frozenset(range(65))))
