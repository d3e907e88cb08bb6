"""How the figures of a measurement are written."""

from __future__ import annotations

from edge_s4op.messages import Interval

__all__ = ["mebibytes", "ms", "ms_range", "percent", "percent_range", "plural"]


def ms(value_ms: float) -> str:
    """Four decimals, a tenth of a microsecond: 0.8124."""
    return f"{value_ms:.4f}"


def ms_range(interval: Interval) -> str:
    """ "0.8101 .. 0.8150"."""
    return f"{ms(interval.low)} .. {ms(interval.high)}"


def percent(share: float) -> str:
    """At least two significant digits below a percent: "12.3 %", "0.083 %"; "100 %"."""
    value = 100 * share
    return f"{value:.3g} %" if abs(value) >= 0.1 or value == 0 else f"{value:.2g} %"


def percent_range(interval: Interval) -> str:
    """ "0.05 .. 0.73 %"."""
    return f"{100 * interval.low:.3g} .. {100 * interval.high:.3g} %"


def mebibytes(size_bytes: int) -> str:
    """ "12.3 MiB"."""
    return f"{size_bytes / 2**20:.1f} MiB"


def plural(count: int, noun: str) -> str:
    """ "1 thread", "2 threads"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
