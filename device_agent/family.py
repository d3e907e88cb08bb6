"""One family at work: several loaded variants, requests go to one of them, and a thread chooses which.

All variants stay loaded and warm, so a switch takes no longer than changing a reference. Requests that wait
for the variant that is left move to a faster one; those that run already are answered where they run.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime, timezone

from device_agent.errors import RequestError
from device_agent.family_switching import Observation, Speed, SwitchingRule
from device_agent.scheduler import Answered, Scheduler, Wanted
from device_agent.statistics import ModelStatistics
from edge_s4op.messages import FamilyRequest, FamilySwitch, FamilyVariant
from edge_s4op.profiler.statistics import percentile

__all__ = ["Family", "Member"]

_log = logging.getLogger("device_agent.families")

_APART_S = 0.25  # between two looks, while there is something to see
_IDLE_APART_S = 1.0  # while it only waits to return
_NEWEST_S = 1.0  # a step of load shows in so short a window first
_KEPT_SWITCHES = 50


@dataclass(frozen=True)
class Member:
    """One loaded variant, and how fast it was when it was loaded."""

    variant: FamilyVariant
    speed: Speed
    scheduler: Scheduler
    statistics: ModelStatistics


@dataclass
class _Arrivals:
    """How many requests came, and when that was looked at."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    count: int = 0
    seen: deque[tuple[float, int]] = field(default_factory=deque)

    def add(self) -> None:
        with self.lock:
            self.count += 1

    def look(self, now_s: float, window_s: float) -> tuple[float, float]:
        """Requests a second: of the window or of the last second, whichever had more; since the last look."""
        newest_rate = self._rate(self.seen[-1], now_s) if self.seen else 0.0
        self.seen.append((now_s, self.count))
        while len(self.seen) > 2 and self.seen[1][0] <= now_s - window_s:
            self.seen.popleft()
        before = [pair for pair in self.seen if pair[0] <= now_s - _NEWEST_S]
        newest = before[-1] if before else self.seen[0]
        return max(self._rate(self.seen[0], now_s), self._rate(newest, now_s)), newest_rate

    def _rate(self, since: tuple[float, int], now_s: float) -> float:
        return (self.count - since[1]) / (now_s - since[0]) if now_s > since[0] else 0.0


class Family:
    """Answers under one name with the variant that the rule chooses. For several threads.

    `members` by preference. `look` is called by a thread of its own, four times a second while requests come;
    with `watches=False` by nobody, and who made the family calls it.
    """

    def __init__(
        self,
        name: str,
        request: FamilyRequest,
        members: Sequence[Member],
        *,
        pinned: str | None = None,
        temperature_c: Callable[[], float | None] = lambda: None,
        now_s: Callable[[], float] = time.monotonic,
        watches: bool = True,
    ) -> None:
        self.name, self.request, self.members = name, request, tuple(members)
        self._read_temperature_c, self._now_s = temperature_c, now_s
        self._rule = SwitchingRule([each.speed for each in members], request.objective, request.policy)
        self._state = self._rule.start()
        self._lock = threading.Lock()  # of state, pin and switches
        self._pinned: str | None = None
        self._switches: deque[FamilySwitch] = deque(maxlen=_KEPT_SWITCHES)
        self._arrivals, self._closing = _Arrivals(), threading.Event()
        self._wake, self._sleeps = threading.Event(), False
        self._member = self.members[self._state.current]
        self.pin(pinned)
        if watches:
            threading.Thread(target=self._watch, name=f"family {name}", daemon=True).start()

    @property
    def current(self) -> str:
        """Name of the variant that new requests go to."""
        return self._member.variant.name

    @property
    def pinned(self) -> str | None:
        """The variant an operator holds."""
        return self._pinned

    @property
    def switches(self) -> tuple[FamilySwitch, ...]:
        """The last changes, oldest first."""
        with self._lock:
            return tuple(self._switches)

    @property
    def depth(self) -> int:
        """Requests that wait, at any variant."""
        return sum(member.scheduler.depth for member in self.members)

    def temperature_c(self) -> float | None:
        """What the policy's limit is compared with; None without a limit, or where it cannot be read."""
        return None if self.request.policy.temperature_limit_c is None else self._read_temperature_c()

    def submit(self, wanted: Wanted) -> Future[Answered]:
        """Queue a request at the variant in use, as Scheduler.submit does."""
        self._arrivals.add()
        future = self._member.scheduler.submit(wanted)
        if self._sleeps:
            self._wake.set()
        return future

    def pin(self, variant: str | None) -> None:
        """Hold one variant, whatever happens; None: choose again, from where it is.

        Raises RequestError 404: it is no variant of this family, or it could not be loaded.
        """
        names = [member.variant.name for member in self.members]
        if variant is not None and variant not in names:
            what = f"family {self.name!r} has no variant {variant!r} that is ready"
            raise RequestError(what, status_code=404, expected=f"one of: {', '.join(names)}")
        with self._lock:
            self._pinned = variant
            if not self._closing.is_set() and variant is not None and variant != self.current:
                target = names.index(variant)
                self._state = self._rule.switched(self._state, target, self._now_s())
                self._take(target, "pinned by an operator")
        self._wake.set()

    def look(self) -> None:
        """See how things stand, and change the variant if that is called for."""
        with self._lock:
            if self._pinned is not None or self._closing.is_set():
                return
            self._state, switch = self._rule.step(self._state, self._observed())
            if switch is not None:
                self._take(switch.target, switch.reason)

    def stop_accepting(self) -> None:
        """Refuse new requests; those that wait are still answered. Returns at once."""
        self._closing.set()
        self._wake.set()
        with self._lock:  # no switch is under way after this
            for member in self.members:
                member.scheduler.stop_accepting()

    def wait(self, timeout_s: float) -> bool:
        """Whether all that waited is answered and the variants are closed, within that time."""
        deadline = time.monotonic() + timeout_s
        return all([member.scheduler.wait(deadline - time.monotonic()) for member in self.members])

    def close(self, drain_s: float) -> bool:
        """Stop accepting, wait, and refuse who waits yet after `drain_s`; whether all were answered."""
        self.stop_accepting()
        deadline = time.monotonic() + drain_s
        return all([member.scheduler.close(deadline - time.monotonic()) for member in self.members])

    def _observed(self) -> Observation:
        now_s, objective, window_s = self._now_s(), self.request.objective, self.request.policy.window_s
        latencies_ms = self._member.statistics.latencies_ms(window_s, self._state.switched_at_s)
        rate, newest_rate = self._arrivals.look(now_s, window_s)
        return Observation(
            now_s=now_s,
            depth=self._member.scheduler.depth,
            rate_per_s=rate,
            newest_rate_per_s=newest_rate,
            answered=len(latencies_ms),
            late=sum(latency_ms > objective.limit_ms for latency_ms in latencies_ms),
            latency_ms=percentile(latencies_ms, objective.percent) if latencies_ms else None,
            service_ms=self._member.scheduler.service_s * 1e3 if latencies_ms else None,
            temperature_c=self.temperature_c(),
        )

    def _take(self, target: int, reason: str) -> None:
        """Use another variant, the lock held: first new requests, then those that wait, if that is faster."""
        old, new = self._member, self.members[target]
        self._member = new
        moved = 0
        if new.speed.capacity_per_s > old.speed.capacity_per_s:
            moved = old.scheduler.hand_over(new.scheduler)
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        switch = FamilySwitch(
            at=now, from_variant=old.variant.name, to_variant=new.variant.name, reason=reason
        )
        self._switches.append(switch)
        _log.info(
            "family %s: %s -> %s, %d waiting moved: %s",
            self.name,
            switch.from_variant,
            switch.to_variant,
            moved,
            reason,
        )

    def _watch(self) -> None:
        """Look while requests come or wait, seldom while it only waits to return; sleep otherwise."""
        count = -1
        while not self._closing.is_set():
            self._wake.clear()  # before anything is looked at: what changes from here on ends a sleep
            is_idle, count = count == self._arrivals.count and self.depth == 0, self._arrivals.count
            if is_idle and (self._state.current == 0 or self._pinned is not None):
                self._sleep(count)
                is_idle = False
            self._closing.wait(_IDLE_APART_S if is_idle else _APART_S)
            try:
                self.look()
            except Exception:  # whatever a sensor may do, the next look is not to be missed
                _log.exception("family %s: cannot choose a variant now", self.name)

    def _sleep(self, count: int) -> None:
        """Until a request comes, a pin changes or the end."""
        self._sleeps = True
        if count == self._arrivals.count and not self._closing.is_set():
            self._wake.wait()
        self._sleeps = False
        self._arrivals.seen.clear()  # the rate of the time asleep tells nothing
