"""When a family changes its variant: on traces of load, queue and temperature, without a clock."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from device_agent.family_switching import (
    Observation,
    Speed,
    SwitchingRule,
    SwitchingState,
    predicted_ms,
)
from edge_s4op.messages import LatencyObjective, SwitchingPolicy

TICK_S = 0.25
SPEEDS = (Speed("full", 8.0, 125.0), Speed("half", 4.0, 250.0), Speed("tiny", 1.0, 1000.0))
OBJECTIVE = LatencyObjective(p99_ms=50)
IDLE = Observation(now_s=0.0)

Load = Callable[[float], float]


def rule_of(**policy: object) -> SwitchingRule:
    return SwitchingRule(SPEEDS, OBJECTIVE, SwitchingPolicy(**policy))


class Device:
    """A queue as a fluid: what comes beyond the capacity waits; answers take run and queue together."""

    def __init__(self, rule: SwitchingRule, load: Load, slowdown: float = 1.0) -> None:
        self.rule, self.load, self.slowdown = rule, load, slowdown
        self.state, self.backlog = rule.start(), 0.0
        self.switches: list[tuple[float, str, str]] = []

    def run(self, end_s: float, start_s: float = 0.0, change: Callable = lambda seen: seen) -> Device:
        for tick in range(round(start_s / TICK_S), round(end_s / TICK_S)):
            seen = change(self._observed(tick * TICK_S))
            before = self.state.current
            self.state, switch = self.rule.step(self.state, seen)
            if switch is not None:
                names = (SPEEDS[before].name, SPEEDS[switch.target].name)
                self.switches.append((seen.now_s, *names))
        return self

    @property
    def path(self) -> list[str]:
        return [target for _, _, target in self.switches]

    def _observed(self, now_s: float) -> Observation:
        rate, speed = self.load(now_s), SPEEDS[self.state.current]
        capacity = speed.capacity_per_s / self.slowdown
        self.backlog = max(self.backlog + (rate - capacity) * TICK_S, 0.0)
        median_ms = speed.run_ms * self.slowdown + self.backlog / capacity * 1e3
        answered = round(rate * 5)
        late = answered if median_ms > OBJECTIVE.limit_ms else 0
        latency_ms = max(predicted_ms(speed, rate, 99), median_ms) if rate < capacity else median_ms
        return Observation(
            now_s,
            math.ceil(self.backlog),
            rate,
            answered=answered,
            late=late,
            latency_ms=latency_ms,
            service_ms=speed.run_ms * self.slowdown if answered else None,
        )


def steady(rate: float) -> Load:
    return lambda _: rate


def steps(*pairs: tuple[float, float]) -> Load:
    """(from when, how many requests a second)."""
    return lambda now: next(rate for since, rate in reversed(pairs) if now >= since)


def test_it_starts_with_the_best_variant_that_is_fast_enough_by_itself() -> None:
    assert rule_of().start().current == 0
    assert SwitchingRule(SPEEDS, LatencyObjective(p99_ms=5), SwitchingPolicy()).start().current == 1
    assert SwitchingRule(SPEEDS, LatencyObjective(p50_ms=0.1), SwitchingPolicy()).start().current == 2


def test_a_load_it_holds_changes_nothing() -> None:
    assert Device(rule_of(), steady(60)).run(600).switches == []


def test_a_step_of_load_takes_it_down_within_a_second_and_keeps_it_there() -> None:
    device = Device(rule_of(), steps((0, 60), (100, 190))).run(1000)
    assert device.path == ["half"]
    assert 100 <= device.switches[0][0] <= 101


def test_it_goes_at_once_to_the_variant_that_holds() -> None:
    assert Device(rule_of(), steps((0, 60), (100, 600))).run(1000).path == ["tiny"]


def test_beyond_all_capacity_it_takes_the_fastest_and_stays() -> None:
    assert Device(rule_of(), steady(5000)).run(300).path == ["tiny"]


def test_it_returns_when_the_load_is_gone_and_not_before_recover_s() -> None:
    device = Device(rule_of(recover_s=10), steps((0, 60), (100, 600), (200, 40))).run(400)
    assert device.path == ["tiny", "full"]
    assert device.switches[1][0] >= 210


def test_it_returns_as_far_as_the_load_allows() -> None:
    device = Device(rule_of(), steps((0, 60), (100, 600), (200, 150))).run(400)
    assert device.path == ["tiny", "half"]


@pytest.mark.parametrize("period_s", [2.0, 8.0, 20.0])
def test_a_load_that_swings_does_not_swing_the_variant(period_s: float) -> None:
    def swinging(now: float) -> float:
        return 600 if now % period_s < period_s / 2 else 40

    assert Device(rule_of(recover_s=10), swinging).run(1000).path == ["tiny"]


def test_a_swing_slower_than_recover_s_is_followed_ever_less() -> None:
    def swinging(now: float) -> float:
        return 600 if now % 60 < 30 else 40

    device = Device(rule_of(recover_s=10), swinging).run(3600)
    early = [at for at, *_ in device.switches if at < 600]
    late = [at for at, *_ in device.switches if at >= 1800]
    assert 2 <= len(early) <= 6
    assert late == []


@pytest.mark.parametrize("seed", range(5))
def test_noise_about_a_load_it_holds_changes_nothing(seed: int) -> None:
    rng = random.Random(seed)
    assert Device(rule_of(), lambda _: rng.gauss(70, 12)).run(600).switches == []


@pytest.mark.parametrize("seed", range(5))
def test_noise_about_a_load_it_does_not_hold_moves_it_once(seed: int) -> None:
    rng = random.Random(seed)
    assert len(Device(rule_of(), lambda _: rng.gauss(190, 10)).run(600).path) == 1


def test_one_outlier_changes_nothing_however_few_the_answers() -> None:
    rule = rule_of()
    for answered in (1, 5, 50, 500):
        seen = Observation(1.0, 0, 1.0, answered=answered, late=1, latency_ms=400.0, service_ms=8.0)
        assert rule.step(rule.start(), seen)[1] is None


def test_one_outlier_does_not_keep_it_from_returning_for_good() -> None:
    def outlier(seen: Observation) -> Observation:
        return replace(seen, late=1, latency_ms=400.0) if seen.now_s == 105 else seen

    device = Device(rule_of(recover_s=10), steps((0, 600), (100, 40))).run(200, change=outlier)
    assert device.path == ["tiny", "full"]
    assert 115 <= device.switches[1][0] <= 117


def test_late_answers_without_a_queue_take_it_down() -> None:
    seen = Observation(10.0, 0, 10.0, answered=100, late=4, latency_ms=70.0, service_ms=9.0)
    _, switch = rule_of().step(rule_of().start(), seen)
    assert switch is not None
    assert switch.reason == "4 of the last 100 answers took longer than the objective of 50 ms for p99"


def test_of_a_median_half_of_the_answers_may_be_late() -> None:
    rule = SwitchingRule(SPEEDS, LatencyObjective(p50_ms=50), SwitchingPolicy())
    seen = Observation(10.0, 0, 10.0, answered=100, late=50, latency_ms=50.0, service_ms=8.0)
    assert rule.step(rule.start(), seen)[1] is None
    assert rule.step(rule.start(), replace(seen, late=51))[1] is not None


def test_the_queue_counts_before_any_answer_is_late() -> None:
    _, switch = rule_of().step(rule_of().start(), Observation(10.0, depth=6, rate_per_s=200.0))
    assert switch is not None
    assert (SPEEDS[switch.target].name, switch.reason) == (
        "half",
        "6 requests wait, the next would take 56 ms: over the objective of 50 ms",
    )
    assert rule_of().step(rule_of().start(), Observation(10.0, depth=5, rate_per_s=200.0))[1] is None


def test_a_step_of_load_is_met_with_what_holds_it_before_the_mean_rate_shows_it() -> None:
    seen = Observation(10.0, depth=20, rate_per_s=120.0, newest_rate_per_s=600.0)
    _, switch = rule_of().step(rule_of().start(), seen)
    assert switch is not None
    assert SPEEDS[switch.target].name == "tiny"


def test_a_limit_of_the_queue_counts_too() -> None:
    _, switch = rule_of(queue_limit=2).step(SwitchingState(), Observation(10.0, depth=3))
    assert switch is not None
    assert "more than the limit of 2" in switch.reason


def test_a_device_slower_than_when_it_was_timed_is_taken_for_what_it_is() -> None:
    """Throttled to a third, `half` would answer in 12 ms but hold 83 requests a second only."""
    device = Device(rule_of(), steps((0, 30), (100, 100)), slowdown=3.0).run(400)
    assert device.path == ["tiny"]


def test_what_passing_requests_on_takes_is_not_taken_for_a_slow_device() -> None:
    """0.8 ms for a run of 0.03 ms is no reason to expect 27 times 8 ms."""
    rule = SwitchingRule((SPEEDS[0], Speed("fast", 0.03, 30_000.0)), OBJECTIVE, SwitchingPolicy(recover_s=0))
    seen = Observation(10.0, 0, 5.0, answered=25, latency_ms=0.8, service_ms=0.035)
    _, switch = rule.step(SwitchingState(current=1), seen)
    assert switch is not None
    assert switch.target == 0


def heat(limit: float, *, per_s: dict[str, float]) -> Callable[[Device], Callable]:
    """Temperature that rises or falls with the variant in use, noise of half a degree on it."""

    def of(device: Device) -> Callable:
        now_c, rng = [limit - 20.0], random.Random(0)

        def change(seen: Observation) -> Observation:
            now_c[0] += per_s[SPEEDS[device.state.current].name] * TICK_S
            now_c[0] = max(now_c[0], 40.0)
            return replace(seen, temperature_c=now_c[0] + rng.uniform(-0.5, 0.5))

        return change

    return of


def test_slow_warming_moves_it_once_and_it_does_not_flap_about_the_limit() -> None:
    device = Device(rule_of(temperature_limit_c=85.0), steady(40))
    device.run(600, change=heat(85.0, per_s={"full": 0.05, "half": -0.02, "tiny": -0.1})(device))
    assert device.path == ["half"]
    assert 350 < device.switches[0][0] < 410


def test_each_step_gets_time_to_cool_the_board() -> None:
    device = Device(rule_of(temperature_limit_c=85.0, temperature_dwell_s=30), steady(60))
    device.run(600, change=heat(85.0, per_s={"full": 0.1, "half": 0.02, "tiny": 0.0})(device))
    assert device.path == ["half", "tiny"]
    assert device.switches[1][0] - device.switches[0][0] >= 30


def test_once_cool_it_returns_and_each_failed_return_takes_longer() -> None:
    device = Device(rule_of(temperature_limit_c=85.0, recover_s=10), steady(40))
    device.run(3000, change=heat(85.0, per_s={"full": 0.5, "half": -0.5, "tiny": -0.5})(device))
    returns = [at for at, _, target in device.switches if target == "full"]
    falls = [at for at, _, target in device.switches if target == "half"]
    waits = [back - fall for fall, back in zip(falls, returns, strict=False)]
    assert max(waits) > 5 * waits[0]


def test_heat_that_may_not_step_yet_does_not_hide_a_queue() -> None:
    rule = rule_of(temperature_limit_c=85.0, temperature_dwell_s=1000, min_dwell_s=1)
    hot = Observation(5.0, 100, 600.0, temperature_c=90.0)
    _, switch = rule.step(SwitchingState(current=1, switched_at_s=0.0), hot)
    assert switch is not None
    assert switch.target == 2


def test_switches_are_min_dwell_s_apart() -> None:
    rng = random.Random(1)
    device = Device(rule_of(min_dwell_s=5, recover_s=0), lambda _: rng.uniform(0, 1500)).run(600)
    times = [at for at, *_ in device.switches]
    assert len(times) > 3
    assert all(later - earlier >= 5 for earlier, later in itertools.pairwise(times))


def test_a_variant_that_is_worse_and_not_faster_is_never_used() -> None:
    speeds = (*SPEEDS[:2], Speed("useless", 5.0, 200.0), SPEEDS[2])
    rule = SwitchingRule(speeds, OBJECTIVE, SwitchingPolicy())
    for rate in range(0, 3000, 50):
        _, switch = rule.step(SwitchingState(current=1), Observation(10.0, 100, rate))
        assert switch is not None
        assert speeds[switch.target].name == "tiny"


def waits_of(rate: float, service_s: float, count: int) -> Iterator[float]:
    """Lindley's recursion: what each of `count` requests waits that come at random."""
    rng, wait = random.Random(3), 0.0
    for _ in range(count):
        yield wait
        wait = max(wait + service_s - rng.expovariate(rate), 0.0)


@pytest.mark.parametrize("utilisation", [0.3, 0.6, 0.8, 0.9])
def test_the_prediction_is_near_a_simulated_queue(utilisation: float) -> None:
    rate = utilisation * 125.0
    latencies_ms = sorted(8.0 + 1e3 * wait for wait in waits_of(rate, 8e-3, 200_000))
    found_ms = latencies_ms[int(0.99 * len(latencies_ms))]
    assert predicted_ms(SPEEDS[0], rate, 99) == pytest.approx(found_ms, rel=0.2)
