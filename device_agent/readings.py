"""The board's sensors for those who look on: read seldom, and never beside a measurement."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from edge_s4op.profiler.telemetry import Board, find_board

__all__ = ["BoardReadings", "Reading"]

_APART_S = 1.0


@dataclass(frozen=True)
class Reading:
    """{"temperature gpu": 61.5, "clock cpu": 1510.4, ...}, each one's unit, and how old they are."""

    values: dict[str, float]
    units: dict[str, str]
    age_s: float


class BoardReadings:
    """Readings at most once a second, however many ask; none while `is_measuring()`, but the last known."""

    def __init__(
        self,
        is_measuring: Callable[[], bool],
        find: Callable[[], Board] = find_board,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._is_measuring, self._find, self._now_s = is_measuring, find, now_s
        self._lock = threading.Lock()
        self._board: Board | None = None
        self._values: dict[str, float] = {}
        self._at_s: float | None = None

    def latest(self) -> Reading | None:
        """The newest reading; None where there has been none yet."""
        with self._lock:
            is_due = self._at_s is None or self._now_s() - self._at_s >= _APART_S
            if is_due and not self._is_measuring():
                self._read()
            if self._board is None or self._at_s is None:
                return None
            return Reading(self._values, self._board.units(), self._now_s() - self._at_s)

    def hottest_c(self) -> float | None:
        """The highest temperature of the newest reading; None where no sensor tells one."""
        reading = self.latest()
        values = {} if reading is None else reading.values
        return max((value for name, value in values.items() if name.startswith("temperature ")), default=None)

    def _read(self) -> None:
        self._board = self._board or self._find()  # finding sensors takes longer than reading them
        self._values, self._at_s = self._board.read(), self._now_s()
