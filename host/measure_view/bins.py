"""Bins of a histogram of latencies: chosen by a robust rule, outliers in one bin of their own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Bins", "bins_of"]

Samples = npt.NDArray[np.float64]

_LOG_FROM = 3.0  # largest over smallest: below, equal widths show the shape; above, they hide the fast side
_MOST, _FEWEST = 20, 5


@dataclass(frozen=True)
class Bins:
    """Counts of latencies between `edges_ms`; `outliers` more lie above `fence_ms`.

    `counts[i]` are in [edges_ms[i], edges_ms[i + 1]), the last bin holds its upper edge, too.
    """

    edges_ms: tuple[float, ...]
    counts: tuple[int, ...]
    logarithmic: bool
    outliers: int
    fence_ms: float | None

    @property
    def scale(self) -> str:
        """ "linear" or "logarithmic"."""
        return "logarithmic" if self.logarithmic else "linear"


def bins_of(samples_ms: Samples, fence_ms: float | None = None) -> Bins:
    """Bins of one or more latencies, ms; those above `fence_ms` are counted as outliers only.

    Width by Freedman and Diaconis, 2 IQR / n^(1/3), which outliers do not move; 5 to 20 bins. On a
    logarithmic scale where the largest (outliers aside) is three times the smallest or more.
    """
    inner = samples_ms if fence_ms is None else samples_ms[samples_ms <= fence_ms]
    if inner.size == 0:  # a fence below everything says nothing
        inner, fence_ms = samples_ms, None
    logarithmic = bool(inner.min() > 0 and inner.max() / inner.min() >= _LOG_FROM)
    scaled = np.log(inner) if logarithmic else inner
    counts, edges = np.histogram(scaled, bins=_edges(scaled))
    edges_ms = np.exp(edges) if logarithmic else edges
    return Bins(
        edges_ms=tuple(map(float, edges_ms)),
        counts=tuple(map(int, counts)),
        logarithmic=logarithmic,
        outliers=int(samples_ms.size - inner.size),
        fence_ms=fence_ms,
    )


def _edges(values: Samples) -> Samples:
    low, high = float(values.min()), float(values.max())
    if high - low <= 1e-9 * max(abs(high), 1e-9):
        return np.array([low, max(high, np.nextafter(low, np.inf))])
    quarter, three_quarters = np.percentile(values, [25, 75])
    width = 2 * float(three_quarters - quarter) / len(values) ** (1 / 3)
    count = _MOST if width <= 0 else int(np.clip(np.ceil((high - low) / width), _FEWEST, _MOST))
    return np.linspace(low, high, count + 1)
