"""How latencies keep a deadline: the share that misses it, and whether misses come in clusters.

The interval of the share is Clopper and Pearson's (Biometrika 26, 1934): for k of n missed, `low` solves
P(Binomial(n, low) >= k) = 2.5 % and `high` solves P(Binomial(n, high) <= k) = 2.5 %.

Clusters: were misses in random order, the number R of runs of misses among k misses and h hits would have

    P(R = r) = C(k - 1, r - 1) C(h + 1, r) / C(k + h, k)

(Wald and Wolfowitz, Annals of Mathematical Statistics 11, 1940). So few runs as were seen, or fewer, with a
probability of 1 % or less are clusters.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from edge_s4op.messages import Deadline, Interval
from edge_s4op.profiler.outliers import notable
from edge_s4op.profiler.statistics import Samples, percentile

__all__ = ["are_clustered", "deadline_of", "share_interval"]

_BY_CHANCE = 0.01


def deadline_of(
    samples_ms: Samples,
    at_ms: Samples,
    deadline_ms: float,
    board: Callable[[float], str | None] | None = None,
) -> Deadline:
    """How latencies that ended at `at_ms` keep `deadline_ms`, all ms; later than it is a miss."""
    missed = samples_ms > deadline_ms
    misses, n = int(missed.sum()), len(samples_ms)
    runs = _run_lengths(missed)
    return Deadline(
        deadline_ms=deadline_ms,
        misses=misses,
        share=misses / n,
        share_interval=share_interval(misses, n),
        longest_run=max(runs, default=0),
        clustered=are_clustered(misses, n - misses, len(runs)),
        p99_9_ms=percentile(np.sort(samples_ms), 99.9),
        worst=notable(int(np.argmax(samples_ms)), samples_ms, at_ms, board),
    )


def share_interval(count: int, n: int, confidence: float = 0.95) -> Interval:
    """Clopper and Pearson's interval of a share of which `count` of `n` were seen."""
    tail = (1 - confidence) / 2
    return Interval(low=_lower_limit(count, n, tail), high=1 - _lower_limit(n - count, n, tail))


def are_clustered(misses: int, hits: int, runs: int) -> bool:
    """Whether so few `runs` of misses come about by chance in at most 1 % of random orders."""
    if misses < 2 or hits == 0:
        return False
    orders = _log_choose(misses + hits, misses)
    logs = (_log_choose(misses - 1, r - 1) + _log_choose(hits + 1, r) - orders for r in range(1, runs + 1))
    return math.fsum(map(math.exp, logs)) <= _BY_CHANCE


def _run_lengths(missed: npt.NDArray[np.bool_]) -> list[int]:
    """Lengths of the runs of True."""
    edges = np.diff(np.concatenate(([0], missed.astype(np.int8), [0])))
    return [int(length) for length in np.flatnonzero(edges == -1) - np.flatnonzero(edges == 1)]


def _lower_limit(k: int, n: int, tail: float) -> float:
    """p with P(Binomial(n, p) >= k) = tail, by bisection below k / n, where that probability is near 1/2."""
    if k == 0:
        return 0.0
    if k == n:
        return float(tail ** (1 / n))
    # More than 24 standard deviations above k: nothing of a tail of that size is beyond.
    counts = np.arange(k, min(n, k + 12 * math.isqrt(n) + 12) + 1)
    log_choose = np.array([_log_choose(n, int(count)) for count in counts])
    low, high = 0.0, k / n
    for _ in range(60):
        p = (low + high) / 2
        terms = np.exp(log_choose + counts * math.log(p) + (n - counts) * math.log1p(-p))
        low, high = (p, high) if terms.sum() < tail else (low, p)
    return (low + high) / 2


def _log_choose(n: int, k: int) -> float:
    """log C(n, k); minus infinity where there is no such choice."""
    if not 0 <= k <= n:
        return -math.inf
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
