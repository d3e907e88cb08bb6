"""Two models in turns: order, uncounted runs, pauses, lengths. The clock is made of integers."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from edge_s4op.errors import MeasurementError
from edge_s4op.profiler.compare import compare
from edge_s4op.profiler.turns import Turns, least_rounds, pause_ms_of, sample_in_turns

COLD = 5  # times as long takes a run that finds the other model's caches


@dataclass
class Machine:
    """A clock that models move by running on it; `slowdown` multiplies what a run takes now."""

    slowdown: Callable[[float], float] = lambda now_ms: 1.0
    now_ns: int = 0
    ran: list[str] = field(default_factory=list)
    slept_after: list[int] = field(default_factory=list)

    def model(self, name: str, latency_ms: float) -> Callable[[], tuple[float, int]]:
        def run() -> tuple[float, int]:
            cold = COLD if self.ran and self.ran[-1] != name else 1
            self.ran.append(name)
            latency_ns = int(latency_ms * 1e6 * cold * self.slowdown(self.now_ns / 1e6))
            self.now_ns += latency_ns
            return latency_ns, self.now_ns

        return run

    def sleep(self, seconds: float) -> None:
        self.slept_after.append(len(self.ran))
        self.now_ns += int(seconds * 1e9)

    def take_turns(self, a_ms: float, b_ms: float, **options: object) -> Turns:
        given = {"min_duration_ms": 500.0, "max_duration_ms": 3000.0, **options}
        a, b = self.model("a", a_ms), self.model("b", b_ms)
        return sample_in_turns(a, b, clock=lambda: self.now_ns, sleep=self.sleep, **given)

    def switches(self) -> list[int]:
        """Indices of runs that follow one of the other model."""
        return [i for i, (x, y) in enumerate(itertools.pairwise(self.ran), 1) if x != y]


def test_models_change_places_three_times_a_round_and_once_between_rounds():
    machine = Machine()
    turns = machine.take_turns(1.0, 1.0)
    order = "".join(name for name, _ in itertools.groupby(machine.ran))
    tried, rounds = order[:2], order[2:]
    assert tried == "ab"
    assert rounds == ("ababab" * len(turns.rounds))[: 3 * len(turns.rounds)]


def test_the_inner_of_a_round_runs_as_long_as_both_outer_stretches():
    turns = Machine().take_turns(1.0, 1.0)
    for part in turns.rounds:
        assert part.a_ms.size == pytest.approx(part.b_ms.size, rel=0.2)


@pytest.mark.parametrize(("a_ms", "b_ms"), [(0.02, 0.02), (0.5, 0.7), (3.0, 12.0)])
def test_runs_that_find_the_other_models_caches_are_not_counted(a_ms: float, b_ms: float):
    turns = Machine().take_turns(a_ms, b_ms)
    assert turns.samples_ms == pytest.approx(a_ms)
    assert turns.baseline_samples_ms == pytest.approx(b_ms)


@pytest.mark.parametrize(("a_ms", "b_ms"), [(0.02, 0.02), (0.02, 9.0), (1.0, 1.1), (10.0, 10.0)])
def test_turns_last_about_as_long_as_asked(a_ms: float, b_ms: float):
    turns = Machine().take_turns(a_ms, b_ms, max_duration_ms=4000.0)
    assert 10 <= len(turns.rounds) <= 100
    assert 4000 * 0.6 < turns.duration_ms < 4000 * 1.5


def test_long_runs_get_the_least_rounds_and_no_more_runs_than_they_need():
    machine = Machine()
    turns = machine.take_turns(2000.0, 2000.0)
    assert len(turns.rounds) == least_rounds(0.95) == 10
    assert len(machine.ran) <= 2 + 10 * 3


def test_higher_confidence_needs_more_rounds_and_gets_them():
    turns = Machine().take_turns(100.0, 100.0, max_duration_ms=1.0, confidence=0.99999)
    assert len(turns.rounds) == least_rounds(0.99999) == 18
    compare([(part.a_ms, part.b_ms) for part in turns.rounds], 0.99999)
    assert least_rounds(1 - 2.0**-52) == 53  # the nearest to 1 that a request can ask for


def test_the_longer_of_both_durations_counts():
    turns = Machine().take_turns(1.0, 1.0, min_duration_ms=5000.0, max_duration_ms=1000.0)
    assert turns.duration_ms > 4000


def test_pauses_lie_where_the_models_change_places_and_nowhere_else():
    machine = Machine()
    turns = machine.take_turns(1.0, 1.0, pause_ms=50.0)
    assert len(machine.slept_after) == 3 * len(turns.rounds)
    assert machine.slept_after == machine.switches()[1:]  # the first is of the runs that were tried
    assert len(turns.rounds) >= 10
    unpaused = Machine()
    unpaused.take_turns(1.0, 1.0)
    assert not unpaused.slept_after


def test_only_models_with_a_thread_pool_need_a_pause():
    assert pause_ms_of(1) == 0
    assert pause_ms_of(2) >= 50 > 32  # how long ONNX Runtime's pool spins


def test_a_steady_drift_looks_like_no_difference():
    def slowdown(now_ms: float) -> float:
        return 1 + now_ms / 10_000

    turns = Machine(slowdown).take_turns(1.0, 1.0)
    verdict, ratio, _ = compare([(part.a_ms, part.b_ms) for part in turns.rounds], 0.95)
    assert verdict == "not resolved"
    assert ratio == pytest.approx(1.0, abs=0.001)


def test_samples_come_with_the_time_they_ended():
    turns = Machine().take_turns(1.0, 2.0)
    for samples_ms, at_ms in (
        (turns.samples_ms, turns.at_ms),
        (turns.baseline_samples_ms, turns.baseline_at_ms),
    ):
        assert samples_ms.shape == at_ms.shape
        assert np.all(np.diff(at_ms) > 0)
        assert at_ms[0] > 0
        assert at_ms[-1] <= turns.duration_ms
    assert not set(turns.at_ms) & set(turns.baseline_at_ms)


def test_what_a_run_raises_ends_all():
    calls = itertools.count()

    def fails() -> tuple[float, int]:
        if next(calls) == 30:
            raise MeasurementError("cancelled")
        return machine.model("a", 1.0)()

    machine = Machine()
    with pytest.raises(MeasurementError, match=r"^cancelled$"):
        sample_in_turns(
            fails,
            machine.model("b", 1.0),
            min_duration_ms=0,
            max_duration_ms=1000,
            clock=lambda: machine.now_ns,
        )
    assert next(calls) == 31


def test_progress_grows_to_one():
    told: list[float] = []
    turns = Machine().take_turns(1.0, 1.0, on_progress=told.append)
    assert told == sorted(set(told))
    assert len(told) == len(turns.rounds)
    assert told[0] > 0
    assert told[-1] == 1.0
