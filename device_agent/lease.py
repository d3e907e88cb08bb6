"""Who uses the device now: measuring excludes inference, inferences run beside one another."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator

from device_agent.errors import RequestError, busy_error

__all__ = ["DeviceLease"]

_POLL_S = 0.05  # how soon a waiter notices that it is no longer wanted

Unwanted = Callable[[], bool]


class DeviceLease:
    """Held by one who needs the device alone, or shared by many.

    Granted in the order of asking, so neither side can starve: who shares waits behind one who asked before
    to be alone.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._queue: deque[object] = deque()
        self._holder: str | None = None
        self._sharers = 0
        self._remaining_s: Callable[[], float | None] = _unknown

    @property
    def holder(self) -> str | None:
        """Who holds the device alone, or None."""
        return self._holder

    @contextlib.contextmanager
    def hold(
        self,
        name: str,
        *,
        timeout_s: float | None = None,
        unwanted: Unwanted | None = None,
        remaining_s: Callable[[], float | None] | None = None,
    ) -> Iterator[None]:
        """Hold the device alone as `name`; `remaining_s` tells others how much longer, if known.

        Not re-entrant.
        Raises RequestError 503 (busy) after `timeout_s`, or soon after `unwanted()` turns true; it asks to
        come back when the holder expects to have ended.
        """
        with self._condition:
            self._wait(lambda: self._sharers == 0, timeout_s, unwanted or _never)
            self._holder, self._remaining_s = name, remaining_s or _unknown
        try:
            yield
        finally:
            with self._condition:
                self._holder, self._remaining_s = None, _unknown
                self._condition.notify_all()

    def try_share(self) -> bool:
        """Share the device if nobody holds it or waits for it; give it back with `unshare`."""
        with self._condition:
            if self._holder is not None or self._queue:
                return False
            self._sharers += 1
            return True

    def share(self, *, timeout_s: float | None = None, unwanted: Unwanted | None = None) -> None:
        """Share the device once nobody holds it; give it back with `unshare`. Raises as `hold` does."""
        with self._condition:
            self._wait(_always, timeout_s, unwanted or _never)
            self._sharers += 1

    def unshare(self) -> None:
        """Give back what `share` or `try_share` gave."""
        with self._condition:
            self._sharers -= 1
            if self._sharers == 0 and self._queue:
                self._condition.notify_all()

    def refusal(self) -> RequestError:
        """503: who holds the device, and when to come back."""
        return busy_error(f"the device is busy: {self._holder or 'others wait for it'}", self._remaining_s())

    def _wait(self, is_free: Callable[[], bool], timeout_s: float | None, unwanted: Unwanted) -> None:
        """Wait for the device and one's turn, the condition held."""
        deadline = float("inf") if timeout_s is None else time.monotonic() + timeout_s
        ticket = object()
        self._queue.append(ticket)
        try:
            while self._holder is not None or self._queue[0] is not ticket or not is_free():
                if unwanted() or time.monotonic() >= deadline:
                    raise self.refusal()
                self._condition.wait(max(min(_POLL_S, deadline - time.monotonic()), 0.001))
        finally:
            self._queue.remove(ticket)
            self._condition.notify_all()


def _always() -> bool:
    return True


def _never() -> bool:
    return False


def _unknown() -> float | None:
    return None
