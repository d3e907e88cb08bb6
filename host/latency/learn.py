"""Learning a layer's curve: a coarse grid, refined where it bends, beside an anchor that must not move."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np

from edge_s4op.errors import MeasurementError
from host.latency.model import CurvePoint, LayerCurve
from host.latency.probe import LayerShape

__all__ = ["MeasurePoint", "learn_curve"]

MeasurePoint = Callable[[int, bool], "CurvePoint | None"]
"""(kept, fresh) -> the measured point, or None if it could not be measured; `fresh`: not from a cache."""

TOLERANCE = 0.05  # of the curve's largest value: a smaller bend or jump changes no plan worth the time
_CHECK_EVERY = 4  # points between two looks at the anchor
_RETRIES = 2
_LOOKS = 4
_SMALLEST_WAVE = 4  # operators: below, a cliff says nothing about its multiples


def learn_curve(shape: LayerShape, measure: MeasurePoint, *, max_points: int = 16) -> LayerCurve:
    """Latency against kept operators from at most `max_points` counts (and the anchor's repetitions).

    First 1, H/4, H/2, 3H/4 and H. Where a point lies off the line between its neighbours by more than the
    tolerance and its own interval, the intervals around it are halved, the steepest first, until they are
    straight or of length one: a jump between two neighbouring counts is a cliff. An anchor, H/2, is measured
    again after every few points; when it moved by more than the tolerance, and beyond its interval, the
    points since then are measured again, at most twice, and are `disturbed` if it still moves.

    Raises MeasurementError when fewer than two points could be measured.
    """
    watched = _Watched(shape.num_channels, measure)
    grid = sorted({max(1, round(share * shape.num_channels / 4)) for share in range(5)})
    for kept in grid:
        watched.take(kept)
    _refine(watched, max_points)
    watched.check()
    points = watched.points()
    if len(points) < min(2, shape.num_channels):
        raise MeasurementError(
            f"the latency of a layer ({shape.name}) could not be learned",
            expected="at least two kept counts that can be measured",
            found=len(points),
            fix="see the agent's log for why its measurements fail",
        )
    return LayerCurve(
        kind=shape.kind,
        num_channels=shape.num_channels,
        d_state=shape.d_state,
        seq_len=shape.seq_len,
        points=points,
        cliffs=_cliffs(points),
    )


class _Watched:
    """Points measured so far, and the anchor that tells whether the device is the one it was."""

    def __init__(self, channels: int, measure: MeasurePoint) -> None:
        self.channels = channels
        self.tried_multiples_of = 0
        self._measure = measure
        self._points: dict[int, CurvePoint] = {}
        self._unchecked: list[int] = []
        self._anchor = max(1, channels // 2)
        self._reference = measure(self._anchor, False)

    def take(self, kept: int) -> CurvePoint | None:
        """Measure a count, once."""
        if kept not in self._points:
            point = self._measure(kept, False)
            if point is None:
                return None
            self._points[kept] = point
            self._unchecked.append(kept)
            if len(self._unchecked) >= _CHECK_EVERY:
                self.check()
        return self._points[kept]

    def check(self) -> None:
        """Look at the anchor; what was measured while the device was another one is measured again."""
        for _ in range(_RETRIES if self._unchecked else 0):
            if not self._moved():
                self._unchecked = []
                return
            self._wait_until_steady()
            for kept in self._unchecked:
                self._points[kept] = self._measure(kept, True) or self._points[kept]
        disturbed = bool(self._unchecked) and self._moved()
        for kept in self._unchecked:
            self._points[kept] = self._points[kept].model_copy(update={"disturbed": disturbed})
        self._unchecked = []

    def _wait_until_steady(self) -> None:
        """Repeat the anchor until it is back where it was, a few times: measuring is waiting, too."""
        for _ in range(_LOOKS):
            if not self._moved():
                return

    def points(self) -> tuple[CurvePoint, ...]:
        """In ascending order."""
        return tuple(self._points[kept] for kept in sorted(self._points))

    def _moved(self) -> bool:
        now, before = self._measure(self._anchor, True), self._reference
        if now is None or before is None:
            return False
        apart = abs(now.p50_ms - before.p50_ms)
        low, high = before.p50_interval_ms, now.p50_interval_ms
        overlap = min(low.high, high.high) >= max(low.low, high.low)
        return apart > TOLERANCE * before.p50_ms and not overlap


def _refine(watched: _Watched, max_points: int) -> None:
    """Halve the intervals in which the curve is not straight, the steepest first.

    Of the two halves of an interval one holds the jump: taking that first finds a cliff in the logarithm of
    the interval's length (12 points of 512 counts), and the other half is looked at if points are left.
    """
    open_intervals = _bent(watched.points())
    while open_intervals and len(watched.points()) < max_points:
        steep = _steepness(watched.points())
        low, high = max(open_intervals, key=lambda pair: (steep(*pair), open_intervals[pair], pair))
        error = open_intervals.pop((low, high))
        if not _measured_within(watched, low, high):
            error = _halved(watched, low, high)
        _try_multiples(watched, max_points)
        bounds = [low, *_measured_within(watched, low, high), high]
        if error > 0:
            open_intervals |= {pair: error for pair in itertools.pairwise(bounds) if pair[1] - pair[0] > 1}


def _halved(watched: _Watched, low: int, high: int) -> float:
    """Measure the middle; by how much the straight line from end to end misses it, 0 within the tolerance."""
    middle = watched.take((low + high) // 2)
    ends = [point for point in watched.points() if point.kept in (low, high)]
    if middle is None:
        return 0.0
    error = _error(ends[0], middle, ends[1])
    return error if error > _tolerance(watched.points(), middle) else 0.0


def _measured_within(watched: _Watched, low: int, high: int) -> list[int]:
    return [point.kept for point in watched.points() if low < point.kept < high]


def _try_multiples(watched: _Watched, max_points: int) -> None:
    """After the first cliff: waves of a GPU and widths of vectors come again at its multiples, if at 2x."""
    first = min(_cliffs(watched.points()), default=0)
    if first < _SMALLEST_WAVE or first == watched.tried_multiples_of:
        return
    watched.tried_multiples_of = first
    for count in range(2 * first, watched.channels, first):
        for kept in (count, count + 1):
            if len(watched.points()) < max_points:
                watched.take(kept)
        if count not in _cliffs(watched.points()):
            return


def _steepness(points: tuple[CurvePoint, ...]) -> Callable[[int, int], float]:
    """(low, high) -> by how much the curve rises or falls there beyond its trend, ms.

    The trend is the median slope, every slope weighted by its interval's length: a jump does not move it.
    """
    ms = {point.kept: point.p50_ms for point in points}
    trend = _trend(points)
    return lambda low, high: abs(ms[high] - ms[low] - trend * (high - low))


def _trend(points: tuple[CurvePoint, ...]) -> float:
    """Median slope over all counts, ms an operator."""
    lengths = np.diff([point.kept for point in points])
    slopes = np.diff([point.p50_ms for point in points]) / lengths
    return float(np.median(np.repeat(slopes, lengths))) if len(points) > 1 else 0.0


def _bent(points: tuple[CurvePoint, ...]) -> dict[tuple[int, int], float]:
    """Intervals next to a point that lies off the line between its neighbours, and the worst such error."""
    worst: dict[tuple[int, int], float] = {}
    for low, middle, high in zip(points, points[1:], points[2:], strict=False):
        error = _error(low, middle, high)
        if error > _tolerance(points, middle):
            for pair in ((low.kept, middle.kept), (middle.kept, high.kept)):
                worst[pair] = max(worst.get(pair, 0.0), error)
    return {pair: error for pair, error in worst.items() if pair[1] - pair[0] > 1}


def _error(low: CurvePoint, middle: CurvePoint, high: CurvePoint) -> float:
    share = (middle.kept - low.kept) / (high.kept - low.kept)
    return abs(middle.p50_ms - (low.p50_ms + share * (high.p50_ms - low.p50_ms)))


def _tolerance(points: tuple[CurvePoint, ...], point: CurvePoint) -> float:
    interval = point.p50_interval_ms
    return max(TOLERANCE * max(p.p50_ms for p in points), interval.high - interval.low)


def _cliffs(points: tuple[CurvePoint, ...]) -> tuple[int, ...]:
    """Counts whose next one takes a jump more: beyond the curve's trend, the tolerance and both intervals."""
    trend = _trend(points)
    return tuple(
        low.kept
        for low, high in itertools.pairwise(points)
        if high.kept == low.kept + 1
        and high.p50_ms - low.p50_ms - max(trend, 0.0) > TOLERANCE * max(p.p50_ms for p in points)
        and high.p50_interval_ms.low > low.p50_interval_ms.high
    )
