"""Statistics of latency samples: trtexec's percentiles, intervals that assume no distribution.

The interval of a quantile q comes from order statistics. Of n independent samples, the number B that
lies below the true quantile is Binomial(n, q), so with sorted samples x_1 <= ... <= x_n

    P(x_l <= Q <= x_u) >= P(l <= B <= u - 1) >= confidence

for the largest l with P(B <= l - 1) <= alpha/2 and the smallest u with P(B >= u) <= alpha/2.
David and Nagaraja, Order Statistics, 3rd ed., section 7.1. Latencies are neither normal nor
symmetric, so nothing narrower is safe.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_s4op.errors import MeasurementError
from edge_s4op.messages import Interval, LatencyStatistics

__all__ = [
    "Location",
    "Samples",
    "is_precise",
    "order_statistic_ranks",
    "percentile",
    "quantile_interval",
    "summarize",
    "trimmed_mean",
]

Samples = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Location:
    """Where samples lie, and the standard error of that, in the samples' unit."""

    mean: float
    standard_error: float


def summarize(samples_ms: Sequence[float] | Samples, confidence: float = 0.95) -> LatencyStatistics:
    """Statistics of latencies in ms, in any order; intervals at `confidence`.

    Raises MeasurementError when there is no sample, or one is negative or not finite.
    """
    ordered = np.sort(np.asarray(samples_ms, dtype=np.float64))
    if ordered.ndim != 1 or ordered.size == 0 or not np.isfinite(ordered).all() or ordered[0] < 0:
        raise MeasurementError(
            "latency samples cannot be summarised",
            expected="one or more finite times >= 0 ms",
            found=f"{ordered.size} samples of shape {list(ordered.shape)}, some of them not",
        )
    return LatencyStatistics(
        minimum=float(ordered[0]),
        maximum=float(ordered[-1]),
        mean=min(max(float(ordered.mean()), float(ordered[0])), float(ordered[-1])),  # rounding
        median=_median(ordered),
        p90=percentile(ordered, 90),
        p95=percentile(ordered, 95),
        p99=percentile(ordered, 99),
        p99_9=percentile(ordered, 99.9),
        median_interval=quantile_interval(ordered, 0.5, confidence),
        p95_interval=quantile_interval(ordered, 0.95, confidence),
    )


def percentile(ordered: Sequence[float] | Samples, p: float) -> float:
    """trtexec's rule on ascending samples: sorted[max(n - 1 - int((1 - p/100) n), 0)].

    Computed in float64, so that (1 - 90/100) 10 is just below 1 and p90 of ten samples the largest.
    """
    n = len(ordered)
    return float(ordered[max(n - 1 - int((1 - p / 100) * n), 0)])


def quantile_interval(ordered: Sequence[float] | Samples, q: float, confidence: float) -> Interval:
    """Confidence interval of quantile `q` from ascending samples.

    With too few samples for `confidence` (at 95 %: under 6 for the median, under 72 for p95) it is
    the whole range, which then covers the quantile less often than `confidence` says.
    """
    low, high = order_statistic_ranks(len(ordered), q, confidence) or (1, len(ordered))
    return Interval(low=float(ordered[low - 1]), high=float(ordered[high - 1]))


def is_precise(samples_ms: Sequence[float] | Samples, precision: float, confidence: float) -> bool:
    """Whether the median's interval exists and lies within +-`precision` (relative) of the median.

    The interval that errs 50 times less often (99.9 % for 95 %) must lie within twice that. Where latencies
    have one level it does, being 1.7 times wider. Where two levels are about equally frequent it spans both,
    and who stops as soon as chance favours one of them reports that one as the median.
    """
    if order_statistic_ranks(len(samples_ms), 0.5, confidence) is None:
        return False
    ordered = np.sort(np.asarray(samples_ms, dtype=np.float64))
    surer = 1 - (1 - confidence) / 50
    return _is_within(precision, ordered, confidence) and _is_within(2 * precision, ordered, surer)


def _is_within(precision: float, ordered: Samples, confidence: float) -> bool:
    median, interval = _median(ordered), quantile_interval(ordered, 0.5, confidence)
    return max(median - interval.low, interval.high - median) <= precision * median


def order_statistic_ranks(n: int, q: float, confidence: float) -> tuple[int, int] | None:
    """Ranks (l, u), counted from 1, whose order statistics enclose quantile `q`; None if n is too small.

    Exact for every n: the binomial's tails are summed from 12 standard deviations out (below 1e-25),
    which takes O(sqrt(n)) terms.
    """
    tail = (1 - confidence) / 2
    low = _largest_rank(n, q, tail)
    # B' = n - B counts samples above the quantile and is Binomial(n, 1 - q): the same question mirrored.
    high = n + 1 - _largest_rank(n, 1 - q, tail)
    return (low, high) if low >= 1 and high <= n else None


def trimmed_mean(samples_ms: Samples, trimmed: float = 0.2) -> Location:
    """Mean of one or more samples without the share `trimmed` at either end, with its standard error

        s_w / ((1 - 2 trimmed) sqrt(n)),

    s_w^2 the variance of the samples with those cut off moved to the nearest one kept. R. R. Wilcox,
    Introduction to Robust Estimation and Hypothesis Testing, section 3.3.
    """
    n = len(samples_ms)
    cut = int(n * trimmed)
    ordered = np.partition(samples_ms, (cut, n - 1 - cut))
    mean = float(ordered[cut : n - cut].mean())
    if n < 2:
        return Location(mean, 0.0)
    spread = float(np.clip(ordered, ordered[cut], ordered[n - 1 - cut]).std(ddof=1))
    return Location(mean, spread / ((1 - 2 * trimmed) * math.sqrt(n)))


def _largest_rank(n: int, q: float, tail: float) -> int:
    """The largest l with P(Binomial(n, q) <= l - 1) <= tail; 0 if there is none."""
    spread = math.sqrt(n * q * (1 - q))
    rank = max(0, math.floor(n * q - 12 * spread - 12))
    total = 0.0
    while rank <= n:
        total += math.exp(_log_binomial(n, rank, q))
        if total > tail:
            break
        rank += 1
    return rank


def _log_binomial(n: int, k: int, q: float) -> float:
    """log P(Binomial(n, q) = k)."""
    choose = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return choose + k * math.log(q) + (n - k) * math.log1p(-q)


def _median(ordered: Samples) -> float:
    """As trtexec's: the middle sample, or the mean of the two in the middle."""
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return float(ordered[middle])
    return float(ordered[middle - 1] + ordered[middle]) / 2
