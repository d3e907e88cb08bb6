"""Waiting until the board is as cool, and its clocks as low, as it was when idle."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from edge_s4op.errors import MeasurementError
from edge_s4op.profiler.sampling import CANCELLED
from edge_s4op.profiler.telemetry.board import Board

__all__ = ["MARGIN_C", "cool_down"]

MARGIN_C = 2.0
_CLOCK_MARGIN = 0.05
_CLOCKS_MAX_MS = 1000.0  # governors let go within a second; after that a clock is up for another reason
_LOOK_EVERY_S = 0.1


def cool_down(
    board: Board,
    reference: Mapping[str, float] | None,
    max_ms: float,
    should_stop: Callable[[], bool] = lambda: False,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> float:
    """Wait at most `max_ms`; the time waited, ms: 0 if the board was cool already.

    Until each temperature is at most 2 C above `reference` (readings of the idle board), nothing is slowed
    down that was not then, and, for at most a second, until clocks are no higher than 5 % above it. Without a
    reference, or without such sensors, there is nothing to wait for. `clock` counts ns, `sleep` takes s.

    Raises MeasurementError("cancelled") when `should_stop`.
    """
    began_ns, waited_ms = clock(), 0.0
    while reference and waited_ms < max_ms and not _is_back(board.read(), reference, waited_ms):
        if should_stop():
            raise MeasurementError(CANCELLED)
        sleep(min(_LOOK_EVERY_S, (max_ms - waited_ms) / 1000))
        waited_ms = (clock() - began_ns) / 1e6
    return waited_ms


def _is_back(now: Mapping[str, float], reference: Mapping[str, float], waited_ms: float) -> bool:
    return all(_is_low(name, now.get(name, idle), idle, waited_ms) for name, idle in reference.items())


def _is_low(name: str, value: float, idle: float, waited_ms: float) -> bool:
    if name.startswith("temperature "):
        return value <= idle + MARGIN_C
    if name.startswith("throttle ") and name.endswith(" state"):
        return value <= idle
    if name.startswith("clock ") and waited_ms < _CLOCKS_MAX_MS:
        return value <= idle * (1 + _CLOCK_MARGIN)
    return True
