"""Measure again what something beside the model disturbed, and keep the best of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edge_s4op.messages import Disturbance
from host.measuring import Measurement

__all__ = ["REMEASURE", "is_disturbed", "less_disturbed", "reasons", "remeasured"]

REMEASURE = 2
"""How often a disturbed measurement is repeated, unless a setting says otherwise."""

_WORDS = {
    "throttling": "throttling",
    "clocks": "changed clocks",
    "cpu-steal": "CPU steal",
    "cpu-load": "CPU load",
    "gpu-load": "GPU load",
    "contended": "serving meanwhile",
}


def remeasured(
    take: Callable[[], Measurement],
    times: int = REMEASURE,
    on_again: Callable[[str], None] | None = None,
) -> Measurement:
    """`take()`; again while what it gives is disturbed, `times` more at most; the least disturbed of all.

    `on_again` is told why, in words, before each repetition. A repetition that fails ends the matter: the
    one before it stands, with its disturbances.
    """
    best = last = take()
    for _ in range(times):
        if not is_disturbed(last):
            break
        if on_again is not None:
            on_again(reasons(_disturbances(last)))
        last = take()
        best = less_disturbed(best, last)
    return best


def less_disturbed(first: Measurement, second: Measurement) -> Measurement:
    """The one with fewer disturbances; of equals the one whose median is known better, then `second`.

    Not the faster one: picking by latency would bias it.
    """
    return first if _rank(first) < _rank(second) else second


def is_disturbed(measurement: Measurement) -> bool:
    """Whether there is a result that something disturbed."""
    return bool(_disturbances(measurement))


def reasons(disturbances: Sequence[Disturbance]) -> str:
    """The kinds in words, each once: "CPU load, throttling"."""
    return ", ".join(dict.fromkeys(_WORDS[disturbance.kind] for disturbance in disturbances))


def _disturbances(measurement: Measurement) -> tuple[Disturbance, ...]:
    return () if measurement.result is None else measurement.result.disturbed


def _rank(measurement: Measurement) -> tuple[bool, int, float]:
    if measurement.result is None:
        return True, 0, 0.0
    latency = measurement.result.latency_ms
    width = latency.median_interval.high - latency.median_interval.low
    return False, len(measurement.result.disturbed), width / max(latency.median, 1e-12)
