"""The line before a model: bounded, by priority, each request with a time at which it gives up."""

from __future__ import annotations

import heapq
import math
import threading
import time
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from edge_s4op.runtime import Array

__all__ = ["LineClosed", "LineFull", "Waiter", "WaitingLine"]

T = TypeVar("T")

_NEVER = float("inf")
_NEW_SHARE = 0.1  # of the newest number in how many are usually here


class LineFull(Exception):
    """No room for one more."""


class LineClosed(Exception):
    """Nobody is let in any more."""


@dataclass(eq=False)
class Waiter(Generic[T]):
    """One request: level 1 is served first; `gives_up_at` in time.monotonic()'s seconds.

    Requests of equal `kind` may be taken together; one whose kind is None is taken alone.
    """

    feeds: Mapping[str, Array]
    rows: int = 1
    kind: Hashable = None
    level: int = 1
    gives_up_at: float = _NEVER
    future: Future[T] = field(default_factory=Future)
    arrived_ns: int = field(default_factory=time.perf_counter_ns)
    arrived_at: float = field(default_factory=time.monotonic)

    @property
    def waited_ns(self) -> int:
        """Nanoseconds since it came."""
        return time.perf_counter_ns() - self.arrived_ns


class WaitingLine(Generic[T]):
    """Requests that wait for a model's workers. For several threads.

    `max_rows` is how many rows workers take together (1: requests one by one), `delay_s` how long they
    leave a request waiting for others to be taken with, `device_wait_s` how long requests wait while the
    device is not to be had. With `parts` a worker takes no more than that part of the requests that are
    here at once, waiting or taken: clients that send again when they are answered would otherwise all be
    answered together, and find the workers idle.
    """

    def __init__(
        self, max_length: int, max_rows: int, delay_s: float, device_wait_s: float, parts: int = 1
    ) -> None:
        self._max_length, self._max_rows = max_length, max_rows
        self._delay_s, self._device_wait_s, self._parts = delay_s, device_wait_s, parts
        self._taken, self._most_here, self._usually_here = 0, 0, 0.0
        self._lock = threading.Lock()
        self._came = threading.Condition(self._lock)
        self._due = threading.Condition(self._lock)  # what the one who waits in `expired` waits for
        self._heap: list[tuple[int, int, Waiter[T]]] = []
        self._count = 0  # of all that ever came: equals are served in the order of coming
        self._next_expiry = _NEVER
        self._blocked_at: float | None = None
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def is_full(self) -> bool:
        """Whether `put` would raise LineFull now."""
        if len(self._heap) < self._max_length:
            return False
        with self._lock:
            return not self._is_closed and not self._has_room()

    def put(self, waiter: Waiter[T], *, even_if_full: bool = False) -> None:
        """Let it wait. Raises LineFull, LineClosed."""
        with self._lock:
            if self._is_closed:
                raise LineClosed
            if not even_if_full and not self._has_room():
                raise LineFull
            self._count += 1
            heapq.heappush(self._heap, (waiter.level, self._count, waiter))
            self._most_here = max(self._most_here, len(self._heap) + self._taken)
            self._came.notify()
            if self._expiry_of(waiter) < self._next_expiry:
                self._due.notify()

    def wait(self) -> bool:
        """Until it is time to take some; False: the line is closed, and nobody waits any more."""
        with self._lock:
            while True:
                if self._heap:
                    left_s = self._linger_s()
                    if left_s <= 0:
                        return True
                    self._came.wait(left_s)
                elif self._is_closed:
                    return False
                else:
                    self._came.wait()

    def take(self) -> list[Waiter[T]]:
        """The first, with others of its kind from anywhere in the line, within `max_rows` and `parts`.

        Empty when nobody waits. What the asker cancelled is left out; the rest cannot be cancelled any more.
        Say `answered` when they are.
        """
        with self._lock:
            most = self._most_at_once()
            first = self._pop_first()
            if first is None:
                self._notify_if_done()
                return []
            taken = [first]
            if first.kind is not None and self._heap and most > 1:
                taken += self._take_alike(first.kind, self._max_rows - first.rows, most - 1)
            self._taken += len(taken)
            self._notify_if_done()
            return taken

    def answered(self, count: int) -> None:
        """So many of those that were taken have left."""
        with self._lock:
            self._taken -= count

    def expired(self) -> list[Waiter[T]] | None:
        """Wait until some have waited too long, and take them out; None once closed and empty."""
        with self._lock:
            while True:
                due = self._drop(lambda waiter: self._expiry_of(waiter) <= time.monotonic())
                if due:
                    return due
                if self._is_closed and not self._heap:
                    return None
                expiries = (self._expiry_of(waiter) for _, _, waiter in self._heap)
                self._next_expiry = min(expiries, default=_NEVER)
                left_s = self._next_expiry - time.monotonic()
                self._due.wait(None if left_s == _NEVER else max(left_s, 0.0))
                self._next_expiry = -_NEVER  # awake

    def block(self, is_blocked: bool) -> None:
        """Say whether the device cannot be had: nobody waits longer than `device_wait_s` for that."""
        with self._lock:
            if is_blocked:
                self._blocked_at = self._blocked_at or time.monotonic()
            else:
                self._blocked_at = None
            self._due.notify()

    def close(self) -> None:
        """Let nobody in any more; those who wait are still to be taken, without delay."""
        with self._lock:
            self._is_closed = True
            self._came.notify_all()
            self._due.notify_all()

    def clear(self) -> list[Waiter[T]]:
        """Take everybody out, in the order of coming."""
        with self._lock:
            return sorted(self._drop(lambda _: True), key=lambda waiter: waiter.arrived_ns)

    def _has_room(self) -> bool:
        if len(self._heap) < self._max_length:
            return True
        return bool(self._drop(lambda other: other.future.cancelled()))

    def _linger_s(self) -> float:
        """How long to leave the line as it is, in case others come to be taken together."""
        if self._delay_s == 0 or self._is_closed or self._heap[0][2].kind is None:
            return 0.0
        if sum(waiter.rows for _, _, waiter in self._heap) >= self._max_rows:
            return 0.0
        oldest = min(waiter.arrived_at for _, _, waiter in self._heap)
        return oldest + self._delay_s - time.monotonic()

    def _pop_first(self) -> Waiter[T] | None:
        while self._heap:
            _, _, waiter = heapq.heappop(self._heap)
            if waiter.future.set_running_or_notify_cancel():
                return waiter
        return None

    def _most_at_once(self) -> int:
        """How many requests a worker may take; what is usual follows a rise at once, and a fall slowly."""
        here, self._most_here = self._most_here, len(self._heap) + self._taken
        self._usually_here = max(here, self._usually_here + _NEW_SHARE * (here - self._usually_here))
        return math.ceil(round(self._usually_here) / self._parts)

    def _take_alike(self, kind: Hashable, room: int, most: int) -> list[Waiter[T]]:
        taken: list[Waiter[T]] = []
        for _, _, waiter in sorted(self._heap, key=lambda entry: entry[:2]):
            if len(taken) == most:
                break
            if waiter.rows > room or waiter.kind != kind:
                continue
            if waiter.future.set_running_or_notify_cancel():
                taken.append(waiter)
                room -= waiter.rows
        self._drop(lambda waiter: waiter.future.running() or waiter.future.cancelled())
        return taken

    def _drop(self, which: Callable[[Waiter[T]], bool]) -> list[Waiter[T]]:
        dropped = [waiter for _, _, waiter in self._heap if which(waiter)]
        if dropped:
            gone = set(map(id, dropped))
            self._heap = [entry for entry in self._heap if id(entry[2]) not in gone]
            heapq.heapify(self._heap)
            self._notify_if_done()
        return dropped

    def _notify_if_done(self) -> None:
        if self._is_closed and not self._heap:
            self._came.notify_all()
            self._due.notify_all()

    def _expiry_of(self, waiter: Waiter[T]) -> float:
        if self._blocked_at is None:
            return waiter.gives_up_at
        return min(waiter.gives_up_at, max(waiter.arrived_at, self._blocked_at) + self._device_wait_s)
