"""What the sensors showed in one stretch of time, noted by one thread and asked for by others."""

from __future__ import annotations

import bisect
import math
import threading
from collections.abc import Mapping

from edge_s4op.messages import SensorSummary, Telemetry
from edge_s4op.profiler.energy import SAMPLE_EVERY_S

__all__ = ["Recording"]

_NS_PER_S = 1_000_000_000


class Recording:
    """Readings by time, ns. A sensor that failed once is left out of everything: its readings would stand
    for a time they do not cover."""

    def __init__(self, units: Mapping[str, str]) -> None:
        self._units = units
        self._lock = threading.Lock()
        self._times_ns: list[int] = []
        self._readings: list[dict[str, float]] = []
        self._failed: set[str] = set()

    def add(self, time_ns: int, reading: dict[str, float], failed: set[str]) -> None:
        """Note values by name, and which sensors failed."""
        with self._lock:
            self._times_ns.append(time_ns)
            self._readings.append(reading)
            self._failed |= failed

    def readings(self) -> list[dict[str, float]]:
        """All so far, in order."""
        with self._lock:
            return [self._kept(reading) for reading in self._readings]

    def at(self, time_ns: int) -> dict[str, float] | None:
        """The nearest reading; None if it is more than two periods away."""
        with self._lock:
            after = bisect.bisect_left(self._times_ns, time_ns)
            near = [index for index in (after - 1, after) if 0 <= index < len(self._times_ns)]
            best = min(near, key=lambda index: abs(self._times_ns[index] - time_ns), default=None)
            if best is None or abs(self._times_ns[best] - time_ns) > 2 * self._period_ns():
                return None
            return self._kept(self._readings[best])

    def summary(self) -> Telemetry | None:
        """Least, mean and most of each sensor but those of throttling; None without any."""
        readings = self.readings()
        every = (name for reading in readings for name in reading if not name.startswith("throttle "))
        names = dict.fromkeys(every)
        sensors = [self._summary(name, [r[name] for r in readings if name in r]) for name in names]
        if not sensors:
            return None
        with self._lock:
            period_ms = self._period_ns() / 1e6
        return Telemetry(period_ms=period_ms, readings=len(readings), sensors=tuple(sensors))

    def _kept(self, reading: dict[str, float]) -> dict[str, float]:
        return {name: value for name, value in reading.items() if name not in self._failed}

    def _period_ns(self) -> float:
        if len(self._times_ns) < 2:
            return SAMPLE_EVERY_S * _NS_PER_S
        return (self._times_ns[-1] - self._times_ns[0]) / (len(self._times_ns) - 1)

    def _summary(self, name: str, values: list[float]) -> SensorSummary:
        return SensorSummary(
            name=name,
            unit=self._units.get(name, ""),
            minimum=min(values),
            mean=math.fsum(values) / len(values),
            maximum=max(values),
            readings=len(values),
        )
