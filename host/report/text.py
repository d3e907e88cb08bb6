"""How figures are written, the same in the terminal, on the page and in the picture."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = [
    "MISSING",
    "accuracy",
    "budget",
    "change",
    "count",
    "interval",
    "milliseconds",
    "percent",
    "rate_name",
    "si",
    "signed",
    "significant",
    "speedup",
]

MISSING = "-"


def percent(fraction: float | None) -> str:
    """Accuracy in percent without the sign: 0.9733 is "97.3"."""
    return MISSING if fraction is None else f"{100 * fraction:.1f}"


def accuracy(fraction: float | None) -> str:
    """Accuracy in percent with the sign: 0.9733 is "97.3 %"."""
    return MISSING if fraction is None else f"{percent(fraction)} %"


def rate_name(rate: float) -> str:
    """0.3 is "30 %"."""
    return f"{100 * rate:g} %"


def milliseconds(value_ms: float | None) -> str:
    """Three significant digits: 0.0123, 1.23, 12.3, 123."""
    return MISSING if value_ms is None else f"{value_ms:.{_decimals(value_ms)}f}"


def interval(value_ms: float | None, bounds_ms: Sequence[float] | None) -> str:
    """The bounds of a value with as many decimals as the value has: "1.20-1.26"."""
    if value_ms is None or bounds_ms is None:
        return ""
    decimals = _decimals(value_ms)
    return f"{bounds_ms[0]:.{decimals}f}-{bounds_ms[1]:.{decimals}f}"


def budget(value_ms: float) -> str:
    """As it was asked for: 2.0 is "2 ms"."""
    return f"{value_ms:g} ms"


def significant(value: float) -> str:
    """At most three significant digits, none of them a trailing zero: 0.8 is "0.8", 1.2345 is "1.23"."""
    return f"{value:.3g}"


def signed(value: float | None, decimals: int = 1) -> str:
    """With its sign: 2.0 is "+2.0"."""
    return MISSING if value is None else f"{round(value, decimals) + 0.0:+.{decimals}f}"


def speedup(factor: float | None) -> str:
    """1.5 is "1.50x"."""
    return MISSING if factor is None else f"{factor:.2f}x"


def change(fraction_less: float | None) -> str:
    """A reduction of 0.48 is "-48 %"; what did not change is left out."""
    return "" if not fraction_less else f"{-100 * fraction_less:+.0f} %"


def count(value: int) -> str:
    """12345 is "12,345"."""
    return f"{value:,}"


def si(value: int) -> str:
    """Three significant digits and a factor: 1234567 is "1.23 M"."""
    for factor, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:.{_decimals(value / factor)}f} {letter}"
    return str(value)


def _decimals(value: float) -> int:
    if value <= 0 or not math.isfinite(value):
        return 2
    return min(6, max(0, 2 - math.floor(math.log10(value))))
