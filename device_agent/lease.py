"""Who uses the device now: measuring and inference exclude each other."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator

from device_agent.errors import busy_error

__all__ = ["DeviceLease"]

_POLL_S = 0.05  # how soon a waiter notices that it is no longer wanted


class DeviceLease:
    """A lock with its holder's name, granted in the order of asking (so neither side can starve)."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._queue: deque[object] = deque()
        self._holder: str | None = None
        self._remaining_s: Callable[[], float | None] = _unknown

    @property
    def holder(self) -> str | None:
        """Who holds the device, or None."""
        return self._holder

    @contextlib.contextmanager
    def hold(
        self,
        name: str,
        *,
        timeout_s: float | None = None,
        unwanted: Callable[[], bool] | None = None,
        remaining_s: Callable[[], float | None] | None = None,
    ) -> Iterator[None]:
        """Hold the device as `name`. Not re-entrant. `remaining_s` tells others how much longer, if known.

        Raises RequestError 503 (busy) after `timeout_s`, or soon after `unwanted()` turns true; it asks to
        come back when the holder expects to have ended.
        """
        self._acquire(name, timeout_s, unwanted or _never, remaining_s or _unknown)
        try:
            yield
        finally:
            self._release()

    def _acquire(
        self,
        name: str,
        timeout_s: float | None,
        unwanted: Callable[[], bool],
        remaining_s: Callable[[], float | None],
    ) -> None:
        deadline = float("inf") if timeout_s is None else time.monotonic() + timeout_s
        ticket = object()
        with self._condition:
            self._queue.append(ticket)
            try:
                while self._holder is not None or self._queue[0] is not ticket:
                    if unwanted() or time.monotonic() >= deadline:
                        what = f"the device is busy: {self._holder or 'others wait for it'}"
                        raise busy_error(what, self._remaining_s())
                    self._condition.wait(max(min(_POLL_S, deadline - time.monotonic()), 0.001))
                self._holder, self._remaining_s = name, remaining_s
            finally:
                self._queue.remove(ticket)
                self._condition.notify_all()

    def _release(self) -> None:
        with self._condition:
            self._holder, self._remaining_s = None, _unknown
            self._condition.notify_all()


def _never() -> bool:
    return False


def _unknown() -> float | None:
    return None
