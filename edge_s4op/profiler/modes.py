"""Whether latencies cluster around one level or two.

Latencies' logarithms, without the outermost 2 % on either side, are smoothed by a Gaussian kernel of
Silverman's width. The candidate is the deepest valley with 5 % of the samples or more on either side,
measured by

    z = sqrt(2) (sqrt(N_peak) - sqrt(N_valley)),    N = 2 sqrt(pi) n h density

against the lower of its two peaks: N is about the number of samples under the kernel, whose square root
has the standard deviation 1/2. It splits two modes when z >= 2.3, when the valley is at most 0.6 of the
peak, when Ashman's separation D = |m1 - m2| / sqrt((s1^2 + s2^2) / 2), on medians and quartiles, is 3 or
more, and when the medians differ by 2 %.

A clock with coarse ticks leaves gaps between them, so the kernel is never narrower than 0.8 of a tick.

B. W. Silverman, Density Estimation (1986), section 3.4.2; K. M. Ashman et al., Astronomical Journal
108 (1994).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edge_s4op.messages import Mode
from edge_s4op.profiler.statistics import Samples

__all__ = ["border_between_modes", "find_modes"]

_FEWEST_SAMPLES = 50
_TRIMMED = 0.02
_LEAST_SHARE = 0.05
_LEAST_Z, _DEEPEST, _LEAST_SEPARATION, _LEAST_RATIO = 2.3, 0.6, 3.0, 1.02
_BINS_PER_WIDTH = 4
_MOST_BINS = 4096
_NO_SPREAD = 1e-9  # equal latencies' logarithms differ by rounding
_NORMAL_IQR = 1.349


@dataclass(frozen=True)
class _Valley:
    at: float
    z: float
    depth: float


def find_modes(samples_ms: Samples) -> tuple[Mode, ...]:
    """The one or two levels of latencies, ms, the faster first. Under 50 samples always one."""
    border = border_between_modes(samples_ms)
    if border is None:
        return (Mode(median_ms=float(np.median(samples_ms)), share=1.0),)
    faster, slower = samples_ms[samples_ms <= border], samples_ms[samples_ms > border]
    return tuple(
        Mode(median_ms=float(np.median(part)), share=len(part) / len(samples_ms)) for part in (faster, slower)
    )


def border_between_modes(samples_ms: Samples) -> float | None:
    """The latency, ms, that parts two modes; None where there is one."""
    positive = samples_ms[samples_ms > 0]
    if len(positive) < _FEWEST_SAMPLES:
        return None
    logs = np.sort(np.log(positive))
    cut = int(len(logs) * _TRIMMED)
    logs = logs[cut : len(logs) - cut]
    width = _kernel_width(logs)
    valley = _deepest_valley(logs, width) if width > _NO_SPREAD else None
    if valley is None or valley.z < _LEAST_Z or valley.depth > _DEEPEST or not _are_apart(logs, valley.at):
        return None
    return math.exp(valley.at)


def _kernel_width(logs: Samples) -> float:
    """Silverman's 0.9 min(s, IQR / 1.349) n^(-1/5), but no less than 0.8 of the clock's tick."""
    q1, q3 = np.quantile(logs, (0.25, 0.75))
    spread = float(logs.std())
    narrow = min(spread, float(q3 - q1) / _NORMAL_IQR) or spread
    values = np.unique(logs)
    tick = float(np.median(np.diff(values))) if 1 < len(values) < len(logs) / 2 else 0.0
    return max(0.9 * narrow * math.pow(len(logs), -0.2), 0.8 * tick)


def _deepest_valley(logs: Samples, width: float) -> _Valley | None:
    """The valley of the largest z among those with enough samples on either side."""
    low, high = logs[0] - 4 * width, logs[-1] + 4 * width
    bins = min(int((high - low) / width * _BINS_PER_WIDTH) + 1, _MOST_BINS)
    histogram, edges = np.histogram(logs, bins, (low, high))
    step = edges[1] - edges[0]
    reach = np.arange(-math.ceil(4 * width / step), math.ceil(4 * width / step) + 1) * step / width
    under = np.convolve(histogram, math.sqrt(2) * np.exp(-reach * reach / 2), mode="same")  # N at each bin
    peak = np.minimum(np.maximum.accumulate(under), np.maximum.accumulate(under[::-1])[::-1])
    below = np.cumsum(histogram) / len(logs)
    inside = (below >= _LEAST_SHARE) & (below <= 1 - _LEAST_SHARE)
    z = np.where(inside, math.sqrt(2) * (np.sqrt(peak) - np.sqrt(under)), 0.0)
    best = int(np.argmax(z))
    if z[best] <= 0:
        return None
    return _Valley(
        float((edges[best] + edges[best + 1]) / 2), float(z[best]), float(under[best] / peak[best])
    )


def _are_apart(logs: Samples, border: float) -> bool:
    faster, slower = logs[logs <= border], logs[logs > border]
    apart = float(np.median(slower) - np.median(faster))
    spread = math.sqrt((_spread(faster) ** 2 + _spread(slower) ** 2) / 2)
    return apart >= max(_LEAST_SEPARATION * spread, math.log(_LEAST_RATIO))


def _spread(values: Samples) -> float:
    q1, q3 = np.quantile(values, (0.25, 0.75))
    return float(q3 - q1) / _NORMAL_IQR
