"""Invented devices for the tests of learning: a latency as a function of kept operators, and of time."""

from __future__ import annotations

from collections.abc import Callable

from edge_s4op.messages import Interval
from host.latency.model import CurvePoint
from host.latency.probe import LayerShape

SHAPE = LayerShape("s4d", 64, 16, 128)


def straight(kept: int) -> float:
    return 1.0 + 0.05 * kept


def cliff_at(count: int, jump: float = 1.5) -> Callable[[int], float]:
    """Straight, but one more than `count` operators costs `jump` ms more."""
    return lambda kept: straight(kept) + (jump if kept > count else 0.0)


class Bench:
    """Measures a device whose latency is `ms(kept)`; call number n takes `slow(n)` times as long."""

    def __init__(
        self,
        ms: Callable[[int], float],
        slow: Callable[[int], float] = lambda call: 1.0,
        broken: frozenset[int] = frozenset(),
    ) -> None:
        self.calls: list[tuple[int, bool]] = []
        self._ms, self._slow, self._broken = ms, slow, broken

    def __call__(self, kept: int, fresh: bool) -> CurvePoint | None:
        self.calls.append((kept, fresh))
        if kept in self._broken:
            return None
        p50_ms = self._ms(kept) * self._slow(len(self.calls))
        interval = Interval(low=0.99 * p50_ms, high=1.01 * p50_ms)
        return CurvePoint(kept=kept, p50_ms=p50_ms, p50_interval_ms=interval)

    @property
    def counts(self) -> set[int]:
        return {kept for kept, _ in self.calls}
