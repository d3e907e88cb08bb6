"""What a measurement asks of whoever watches the board meanwhile."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Protocol

from edge_s4op.messages import Disturbance, Energy, Telemetry

__all__ = ["Recorder"]


class Recorder(Protocol):
    """Watches a board before and while latencies are sampled."""

    def cool_down(self, max_ms: float, should_stop: Callable[[], bool]) -> float:
        """Wait, at most `max_ms`, until the board is as cool and as fast as when idle; ms waited.

        Raises MeasurementError("cancelled") soon after `should_stop()` turns true.
        """

    def idle(self, on_gpu: bool) -> None:
        """Note what the board draws when idle; `on_gpu`: whether the model will run on a GPU."""

    def sampling(self) -> contextlib.AbstractContextManager[None]:
        """Watch while the body runs; all that follows is about the last such window."""

    def at(self, time_ns: int) -> str | None:
        """What the board did around `time_ns` (time.perf_counter_ns), for people."""

    def summary(self) -> Telemetry | None:
        """All sensors; None if there are none."""

    def energy(self, duration_s: float, inferences: int) -> Energy | None:
        """Of one of `inferences` that took `duration_s` together; None if it is not known."""

    def disturbances(self) -> tuple[Disturbance, ...]:
        """What beside the model changed the latencies."""
