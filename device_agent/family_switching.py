"""Which variant of a family to use: decided from what was seen, with hysteresis, without a clock of its own.

Down, at once: when the board is too hot, the requests that wait would be answered too late, or measured
answers were. Up, seldom: when for `recover_s` on end a better variant was predicted to keep the objective,
with room to spare, at the present rate of requests, so that a steady load does not move it to and fro. Each
return that did not last doubles that time.

Predicted is the percentile q of the time in a queue before `instances` workers. With the utilisation
u = rate / capacity, the wait of a request that has to wait is taken as exponential (Kingman, "The single
server queue in heavy traffic", 1961), with half the mean of M/M/1, for runs take equal times:

    latency(q) = run + wait(q),  wait(q) = 1 / (2 (capacity - rate)) * ln(u / (1 - q)),  0 if u <= 1 - q

all scaled by how much longer than when it was timed the variant in use runs now. What the objective leaves
beside the run is for waiting; with room to spare means: `recover_margin` of that suffices.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from edge_s4op.messages import LatencyObjective, SwitchingPolicy

__all__ = ["Observation", "Speed", "Switch", "SwitchingRule", "SwitchingState", "predicted_ms"]

_FEW = 3  # answers that were late: fewer are outliers
_FASTER = 1.05  # times the capacity: less is within what timing a few runs can tell
_BUSIEST = 0.9  # utilisation that is still taken for one that holds
_MOST_DOUBLINGS = 5
_LASTING = 3.0  # times as long as it was waited for: a return that lasted so long was right


@dataclass(frozen=True)
class Speed:
    """A variant as measured alone: the time of one run, and the most requests a second."""

    name: str
    run_ms: float
    capacity_per_s: float


@dataclass(frozen=True)
class Observation:
    """What is known at `now_s`.

    Of the `answered` requests that came, within the window, since the last switch, `latency_ms` is the
    objective's percentile, and `late` took longer than the objective; one took a worker `service_ms`, in the
    mean. `depth` wait, `rate_per_s` come; `newest_rate_per_s` since the observation before, where a step of
    load shows at once.
    """

    now_s: float
    depth: int = 0
    rate_per_s: float = 0.0
    newest_rate_per_s: float = 0.0
    answered: int = 0
    late: int = 0
    latency_ms: float | None = None
    service_ms: float | None = None
    temperature_c: float | None = None


@dataclass(frozen=True)
class Switch:
    """Take the variant `target`."""

    target: int
    reason: str


@dataclass(frozen=True)
class SwitchingState:
    """What has to be remembered between two observations; `current` is an index by preference."""

    current: int = 0
    switched_at_s: float = -math.inf
    safe_since_s: float | None = None
    safe_target: int = 0  # the best variant that looked safe all that time
    returned_at_s: float = -math.inf
    failed_returns: int = 0


def predicted_ms(speed: Speed, rate_per_s: float, percent: float) -> float:
    """Percentile of the latency of requests that come at a steady rate, ms; infinite beyond the capacity."""
    return speed.run_ms + _wait_ms(speed, rate_per_s, percent)


def _wait_ms(speed: Speed, rate_per_s: float, percent: float) -> float:
    utilisation, beyond = rate_per_s / speed.capacity_per_s, 1 - percent / 100
    if utilisation >= 1:
        return math.inf
    mean_ms = 1e3 / (2 * (speed.capacity_per_s - rate_per_s))
    return mean_ms * max(math.log(utilisation / beyond), 0.0) if utilisation else 0.0


@dataclass(frozen=True)
class SwitchingRule:
    """`speeds` by preference, the best variant first."""

    speeds: Sequence[Speed]
    objective: LatencyObjective
    policy: SwitchingPolicy

    def start(self) -> SwitchingState:
        """With the best variant that keeps the objective without a queue; else with the fastest."""
        fit = [i for i, speed in enumerate(self.speeds) if speed.run_ms <= self.objective.limit_ms]
        return SwitchingState(current=fit[0] if fit else self._fastest(range(len(self.speeds))))

    def step(self, state: SwitchingState, seen: Observation) -> tuple[SwitchingState, Switch | None]:
        """The next state, and the switch to make now, if any."""
        threats = [each for each in (self._heat(state, seen), self._lateness(state, seen)) if each]
        if not threats:
            return self._recovered(state, seen)
        state = replace(state, safe_since_s=None)
        switch = next((each for each in threats if each.target != state.current), None)
        if switch is None or self._dwells(state, seen, self.policy.min_dwell_s):
            return state, None
        return self._fallen(state, switch, seen), switch

    def switched(self, state: SwitchingState, target: int, now_s: float) -> SwitchingState:
        """The state after a switch that was made for another reason (an operator's)."""
        return replace(state, current=target, switched_at_s=now_s, safe_since_s=None)

    def _heat(self, state: SwitchingState, seen: Observation) -> Switch | None:
        limit_c, dwell_s = self.policy.temperature_limit_c, self.policy.temperature_dwell_s
        if limit_c is None or seen.temperature_c is None or seen.temperature_c < limit_c:
            return None
        # Heat follows load slowly: one step, then see what it does.
        faster = self._faster(state.current)
        stay = not faster or self._dwells(state, seen, dwell_s)
        reason = f"temperature {seen.temperature_c:.1f} °C, at or over the limit of {limit_c:g} °C"
        return Switch(state.current if stay else faster[0], reason)

    def _lateness(self, state: SwitchingState, seen: Observation) -> Switch | None:
        reason = self._queue_reason(state, seen) or self._late_reason(seen)
        return None if reason is None else Switch(self._best_faster(state, seen), reason)

    def _queue_reason(self, state: SwitchingState, seen: Observation) -> str | None:
        speed, limit = self.speeds[state.current], self.policy.queue_limit
        next_ms = speed.run_ms + seen.depth / speed.capacity_per_s * 1e3
        if seen.depth and next_ms > self.objective.limit_ms:
            return (
                f"{seen.depth} requests wait, the next would take {next_ms:.3g} ms: "
                f"over the objective of {self.objective.limit_ms:g} ms"
            )
        if limit is not None and seen.depth > limit:
            return f"{seen.depth} requests wait, more than the limit of {limit}"
        return None

    def _late_reason(self, seen: Observation) -> str | None:
        allowed = (1 - self.objective.percent / 100) * seen.answered
        if seen.late < _FEW or seen.late <= allowed:
            return None
        return (
            f"{seen.late} of the last {seen.answered} answers took longer than the objective of "
            f"{self.objective.limit_ms:g} ms for p{self.objective.percent}"
        )

    def _best_faster(self, state: SwitchingState, seen: Observation) -> int:
        """The best of the faster variants that is predicted to hold; the fastest of all when none is."""
        faster = self._faster(state.current)
        if not faster:
            return state.current
        slower = self._slowdown(state, seen)
        seen = replace(seen, rate_per_s=max(seen.rate_per_s, seen.newest_rate_per_s))
        holding = [index for index in faster if self._holds(index, seen, slower, 1.0)]
        return holding[0] if holding else self._fastest(faster)

    def _fastest(self, among: Sequence[int]) -> int:
        return max(among, key=lambda index: self.speeds[index].capacity_per_s)

    def _faster(self, current: int) -> list[int]:
        capacity_per_s = self.speeds[current].capacity_per_s
        least = _FASTER * capacity_per_s
        return [index for index, other in enumerate(self.speeds) if other.capacity_per_s > least]

    def _slowdown(self, state: SwitchingState, seen: Observation) -> float:
        """How many times longer than when it was timed the variant in use runs; 1 where that is unknown."""
        if seen.service_ms is None or seen.answered < _FEW:
            return 1.0
        return max(seen.service_ms / self.speeds[state.current].run_ms, 1.0)

    def _holds(self, index: int, seen: Observation, slowdown: float, margin: float) -> bool:
        """Whether it is predicted to hold, with waiting of at most `margin` of what the objective allows."""
        speed = self.speeds[index]
        if seen.rate_per_s * slowdown > _BUSIEST * speed.capacity_per_s:
            return False
        wait_ms = _wait_ms(speed, seen.rate_per_s, self.objective.percent)
        return slowdown * (speed.run_ms + wait_ms / margin) <= self.objective.limit_ms

    def _recovered(self, state: SwitchingState, seen: Observation) -> tuple[SwitchingState, Switch | None]:
        target = self._safe_target(state, seen)
        if target is None:
            return replace(state, safe_since_s=None), None
        if state.safe_since_s is None:
            state = replace(state, safe_since_s=seen.now_s, safe_target=target)
        state = replace(state, safe_target=max(state.safe_target, target))
        safe_s = seen.now_s - (state.safe_since_s or 0.0)
        if safe_s < self._patience_s(state) or self._dwells(state, seen, self.policy.min_dwell_s):
            return state, None
        reason = f"safe for {safe_s:.3g} s at {seen.rate_per_s:.3g} requests/s"
        switch = Switch(state.safe_target, reason)
        return replace(self.switched(state, switch.target, seen.now_s), returned_at_s=seen.now_s), switch

    def _safe_target(self, state: SwitchingState, seen: Observation) -> int | None:
        """The best of the preferred variants that is predicted to hold with room to spare."""
        policy, limit_c = self.policy, self.policy.temperature_limit_c
        run_ms, limit_ms = self.speeds[state.current].run_ms, self.objective.limit_ms
        room_ms = run_ms + policy.recover_margin * max(limit_ms - run_ms, 0.0)
        if seen.latency_ms is not None and seen.answered >= _FEW and seen.latency_ms > room_ms:
            return None
        if limit_c is not None and (seen.temperature_c or 0.0) > limit_c - policy.temperature_margin_c:
            return None
        slower, better = self._slowdown(state, seen), range(state.current)
        return next((i for i in better if self._holds(i, seen, slower, policy.recover_margin)), None)

    def _fallen(self, state: SwitchingState, switch: Switch, seen: Observation) -> SwitchingState:
        lasted = seen.now_s - state.returned_at_s > _LASTING * self._patience_s(state)
        failed = 0 if lasted else min(state.failed_returns + 1, _MOST_DOUBLINGS)
        return replace(self.switched(state, switch.target, seen.now_s), failed_returns=failed)

    def _patience_s(self, state: SwitchingState) -> float:
        return float(self.policy.recover_s * 2**state.failed_returns)

    def _dwells(self, state: SwitchingState, seen: Observation, dwell_s: float) -> bool:
        return seen.now_s - state.switched_at_s < dwell_s
