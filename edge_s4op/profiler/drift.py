"""Whether latency rose or fell while it was sampled: a line or a step through blocks of samples.

Neighbouring samples resemble each other and tails are heavy, so samples are cut into k = 30 blocks (10
where there are fewer than 120) and each is replaced by its 10 % trimmed mean. These are nearly
independent and normal. Least squares then fits y = a + change x over time with

    line: x = time, from 0 to 1            step: x = 0 before, 1 after one of the blocks' borders

and change +- c s(change) is its interval. For the line c is Student's 99.5 % point with k - 2 degrees of
freedom; for the best of all steps it is the 99.5 % point of the largest |t| among them, found by simulation.
The shape that leaves less unexplained is reported, but only a change of 2 % or more of the median:
smaller ones change no decision.

Steps: D. M. Hawkins, Testing a sequence of observations for a shift in location, JASA 72 (1977).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edge_s4op.messages import Drift, Interval
from edge_s4op.profiler.statistics import Samples, trimmed_mean

__all__ = ["FEWEST_SAMPLES", "find_drift"]

FEWEST_SAMPLES = 30
LEAST_CHANGE = 0.02

_TRIMMED = 0.1
_FEW, _MANY, _MANY_FROM = 10, 30, 120
_LINE_T = {10: 3.355, 30: 2.763}
_STEP_T = {10: 5.29, 30: 4.10}  # of 200 000 simulated streams of k normal blocks
_MARGIN = {10: 2, 30: 3}  # blocks a step leaves on either side


@dataclass(frozen=True)
class _Fit:
    """Least squares of one shape: its change, the change's standard error, and how far it must be from 0."""

    change: float
    standard_error: float
    critical: float
    unexplained: float

    def is_real(self, level: float) -> bool:
        return abs(self.change) >= max(LEAST_CHANGE * level, self.critical * self.standard_error)


def find_drift(samples_ms: Samples, at_ms: Samples) -> Drift | None:
    """The drift of latencies taken at `at_ms`, both ms and in order; None if there is none worth mention.

    Under 30 samples none is ever found: too few blocks of too few.
    """
    if len(samples_ms) < FEWEST_SAMPLES:
        return None
    blocks = _MANY if len(samples_ms) >= _MANY_FROM else _FEW
    levels = np.array([trimmed_mean(block, _TRIMMED).mean for block in np.array_split(samples_ms, blocks)])
    median = float(np.median(samples_ms))
    real = [fit for fit in (_line(levels, at_ms), _step(levels)) if fit.is_real(median)]
    if not real or median <= 0:
        return None
    fit = min(real, key=lambda each: each.unexplained)
    margin = fit.critical * fit.standard_error
    interval = Interval(low=(fit.change - margin) / median, high=(fit.change + margin) / median)
    return Drift(change=fit.change / median, interval=interval)


def _line(levels: Samples, at_ms: Samples) -> _Fit:
    times = np.array([block.mean() for block in np.array_split(at_ms, len(levels))])
    span = float(at_ms[-1] - at_ms[0])
    return _fit(levels, times / span if span > 0 else times * 0, _LINE_T[len(levels)])


def _step(levels: Samples) -> _Fit:
    """The step at the border b of the largest (sum of y before b)^2 / (b (k - b)), y = levels - mean."""
    k = len(levels)
    borders = np.arange(_MARGIN[k], k - _MARGIN[k] + 1)
    before = np.cumsum(levels - levels.mean())[borders - 1]
    best = borders[np.argmax(before * before / (borders * (k - borders)))]
    return _fit(levels, (np.arange(k) >= best).astype(np.float64), _STEP_T[k])


def _fit(levels: Samples, shape: Samples, critical: float) -> _Fit:
    x, y = shape - shape.mean(), levels - levels.mean()  # (k,)
    spread = float(x @ x)
    change = float(x @ y) / spread if spread > 0 else 0.0
    unexplained = max(float(y @ y) - change * change * spread, 0.0)
    error = math.sqrt(unexplained / (len(levels) - 2) / spread) if spread > 0 else 0.0
    return _Fit(change, error, critical, unexplained)
