"""Wakes who follows the queue: threads note changes, coroutines wait for them."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator

import anyio

__all__ = ["Changes", "Follower"]


class Follower:
    """One coroutine that waits for changes. However many there are meanwhile, it is woken once."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()
        self._woken = False

    def wake(self) -> None:
        """End the present or the next `wait`; from any thread, and never blocks."""
        if not self._woken:
            self._woken = True
            with contextlib.suppress(RuntimeError):  # the loop has ended, and with it who waited
                self._loop.call_soon_threadsafe(self._event.set)

    async def wait(self, timeout_s: float) -> bool:
        """Whether there was a change within that time. What is read afterwards is as new as it."""
        with anyio.move_on_after(timeout_s):
            await self._event.wait()
        changed = self._event.is_set()
        self._event.clear()
        self._woken = False
        return changed


class Changes:
    """What happens in the queue, for those who follow it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._followers: set[Follower] = set()
        self._version = 0

    @property
    def version(self) -> int:
        """Grows with every change that is in the database; progress is in memory alone."""
        return self._version

    @property
    def followers(self) -> int:
        """How many follow now."""
        return len(self._followers)

    def stored(self) -> None:
        """A measurement was queued, or its state or priority changed (others' positions with it)."""
        with self._lock:
            self._version += 1
        self.progressed()

    def progressed(self) -> None:
        """The stage or the progress of the running measurement changed, or the agent stops."""
        with self._lock:
            followers = list(self._followers)
        for follower in followers:
            follower.wake()

    @contextlib.contextmanager
    def follow(self) -> Iterator[Follower]:
        """Be woken by changes inside the block."""
        follower = Follower()
        with self._lock:
            self._followers.add(follower)
        try:
            yield follower
        finally:
            with self._lock:
                self._followers.discard(follower)
