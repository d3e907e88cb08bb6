"""Latencies far above the rest, named but kept.

The fence is Tukey's outer one, Q3 + 3 IQR (Exploratory Data Analysis, 1977, chapter 2), which 1 of 400 000
normal samples exceeds. Where latencies are bimodal it is the slower mode's: a level that one sample of ten
is at is no outlier. The IQR counts as 2 % of Q3 at least, for a quiet device or a clock with coarse ticks
has none.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edge_s4op.messages import NotableSample, Outliers
from edge_s4op.profiler.modes import border_between_modes
from edge_s4op.profiler.statistics import Samples

__all__ = ["find_outliers", "notable"]

_FENCE = 3.0
_LEAST_IQR = 0.02
_SHOWN = 10


def find_outliers(
    samples_ms: Samples, at_ms: Samples, board: Callable[[float], str | None] | None = None
) -> Outliers:
    """Outliers among latencies that ended at `at_ms`, both ms; `board(at_ms)` says what the board did then.

    `board` is asked for the worst only, of which there are ten at most.
    """
    fence = _fence(samples_ms)
    outside = np.flatnonzero(samples_ms > fence)
    slowest = outside[np.argsort(-samples_ms[outside], kind="stable")][:_SHOWN]
    return Outliers(
        above_ms=fence,
        count=len(outside),
        share=len(outside) / len(samples_ms),
        worst=tuple(notable(int(index), samples_ms, at_ms, board) for index in slowest),
    )


def notable(
    index: int, samples_ms: Samples, at_ms: Samples, board: Callable[[float], str | None] | None
) -> NotableSample:
    """Sample `index` with what the board did when it ended."""
    at = float(at_ms[index])
    return NotableSample(
        index=index, at_ms=at, latency_ms=float(samples_ms[index]), board=board(at) if board else None
    )


def _fence(samples_ms: Samples) -> float:
    border = border_between_modes(samples_ms)
    slower = samples_ms if border is None else samples_ms[samples_ms > border]
    q1, q3 = np.quantile(slower, (0.25, 0.75))
    return float(q3 + _FENCE * max(q3 - q1, _LEAST_IQR * q3))
