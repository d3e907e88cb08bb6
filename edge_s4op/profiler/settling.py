"""Whether warm-up is over: latency has settled once two neighbouring windows of it agree.

Of the n latencies so far the first third is left aside; of the other two thirds' trimmed means a and b,

    |a - b| <= 1 % of b    and    standard error of a - b <= 1.2 % of b

The error is Yuen's, from winsorised variances, so that neither an outlier nor two alternating levels keep
latency from settling. Windows grow with n: what was slow at first leaves them in time, and noise averages
out. Fewer than 120 runs show no slow fall. A slow model cannot run so often: from 2 s on, ten runs do, whose
windows differ by no more than their standard error and 3 %.

K. K. Yuen, The two-sample trimmed t for unequal population variances, Biometrika 61 (1974).
"""

from __future__ import annotations

import math
from array import array

import numpy as np

from edge_s4op.profiler.statistics import trimmed_mean

__all__ = ["Settling"]

_TOLERANCE, _STANDARD_ERROR = 0.01, 0.012
_FEWEST = 120
_SLOW_FEWEST, _SLOW_AFTER_MS, _SLOW_TOLERANCE = 10, 2000.0, 0.03
_CHECK_GROWTH = 1.15


class Settling:
    """Is told each latency; knows whether they have settled. O(1) a latency on average.

    The question is asked anew each time their number has grown by 15 %, and the last answer counts.
    """

    def __init__(self) -> None:
        self._latencies_ms = array("d")
        self._elapsed_ms = 0.0
        self._next_check = _SLOW_FEWEST
        self._settled = False

    def add(self, latency_ms: float) -> None:
        """The next latency, ms, in the order taken."""
        self._latencies_ms.append(latency_ms)
        self._elapsed_ms += latency_ms
        count = len(self._latencies_ms)
        if count >= self._next_check:
            self._next_check = max(count + 1, int(count * _CHECK_GROWTH))
            self._settled = self._agree()

    @property
    def is_settled(self) -> bool:
        """Whether latency was steady when last looked at."""
        return self._settled

    def _agree(self) -> bool:
        count = len(self._latencies_ms)
        enough, slow = count >= _FEWEST, self._elapsed_ms >= _SLOW_AFTER_MS
        if not (enough or slow):
            return False
        window = count // 3
        recent = np.array(self._latencies_ms[count - 2 * window :])
        earlier, later = trimmed_mean(recent[:window]), trimmed_mean(recent[window:])
        error = math.hypot(earlier.standard_error, later.standard_error)
        difference = abs(earlier.mean - later.mean)
        if slow and difference <= min(error, _SLOW_TOLERANCE * later.mean):
            return True
        return difference <= _TOLERANCE * later.mean and error <= _STANDARD_ERROR * later.mean
