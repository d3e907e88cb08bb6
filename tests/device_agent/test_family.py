"""A family under load, with runners that run as long as the test says and a clock that the test moves."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future

import numpy as np
import pytest

from device_agent.errors import RequestError
from device_agent.family import Family, Member
from device_agent.family_switching import Speed
from device_agent.gate import Gate
from device_agent.lease import DeviceLease
from device_agent.scheduler import Answered, Scheduler, Wanted
from device_agent.statistics import ModelStatistics
from device_agent.traffic import Traffic
from edge_s4op.messages import FamilyRequest
from tests.device_agent.fakes import wait_until
from tests.device_agent.runners import HeldRunner

SPEEDS = {"full": (8.0, 125.0), "half": (4.0, 250.0), "tiny": (1.0, 1000.0)}
SHA256S = {name: str(number) * 64 for number, name in enumerate(SPEEDS)}


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Bench:
    """A family of three on runners of its own; `wait` moves the clock and looks, four times a second."""

    def __init__(self, *, watches: bool = False, pinned: str | None = None, **policy: object) -> None:
        self.clock, self.whole, self.temperature_c = Clock(), ModelStatistics(), 40.0
        self.runners = {name: HeldRunner() for name in SPEEDS}
        self.request = FamilyRequest(
            variants=[{"name": name, "artifact_sha256": SHA256S[name]} for name in SPEEDS],
            objective={"p99_ms": 50},
            policy=policy,
            max_queue=40,
        )
        self.family = Family(
            "f",
            self.request,
            [self._member(number) for number in range(3)],
            pinned=pinned,
            temperature_c=lambda: self.temperature_c,
            now_s=self.clock,
            watches=watches,
        )

    def _member(self, number: int) -> Member:
        variant = self.request.variants[number]
        gate = Gate(DeviceLease(), Traffic())
        statistics = ModelStatistics(self.whole, self.clock)
        policy = self.request.serve_request(variant)
        runner = self.runners[variant.name]
        scheduler = Scheduler(runner, policy, gate, statistics, f"f/{variant.name}", variant.name)
        return Member(variant, Speed(variant.name, *SPEEDS[variant.name]), scheduler, statistics)

    def ask(self, *values: float) -> list[Future[Answered]]:
        return [
            self.family.submit(Wanted({"x": np.full((1, 3), value, dtype=np.float32)})) for value in values
        ]

    def wait(self, seconds: float) -> None:
        for _ in range(round(seconds * 4)):
            self.clock.now_s += 0.25
            self.family.look()

    @property
    def path(self) -> list[str]:
        return [switch.to_variant for switch in self.family.switches]

    def ran(self, name: str) -> list[float]:
        return [value for batch in self.runners[name].batches for value in batch]


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    for runner in made.runners.values():
        runner.open.set()
    assert made.family.close(20)


def answers(futures: list[Future[Answered]]) -> list[tuple[float, str | None]]:
    answered = [future.result(20) for future in futures]
    return [(float(each.outputs["y"][0, 0]), each.variant) for each in answered]


def test_every_answer_names_its_variant(bench: Bench) -> None:
    assert bench.family.current == "full"
    assert answers(bench.ask(1, 2)) == [(2, "full"), (4, "full")]


def test_overload_moves_what_waits_to_a_faster_variant_and_loses_nothing(bench: Bench) -> None:
    """One request runs on `full` for long; thirty wait behind it, and are answered while it still runs."""
    bench.runners["full"].open.clear()
    bench.wait(1)
    futures = bench.ask(*range(31))
    bench.runners["full"].wait_for_runs(1)
    bench.wait(0.25)
    assert bench.path == ["half"]
    assert answers(futures[1:]) == [(2.0 * value, "half") for value in range(1, 31)]
    assert not futures[0].done()
    bench.runners["full"].open.set()
    assert answers(futures[:1]) == [(0.0, "full")]
    assert (bench.ran("full"), bench.ran("half")) == ([0], list(range(1, 31)))
    assert bench.whole.snapshot().success.count == 31
    assert bench.whole.snapshot().fail.count == 0


def test_requests_that_were_refused_count_as_load(bench: Bench) -> None:
    """A hundred and fifty within a quarter of a second: more than `half` could answer, refused or not."""
    bench.wait(1)
    bench.runners["full"].open.clear()
    futures, refused = bench.ask(0), 0
    bench.runners["full"].wait_for_runs(1)
    for value in range(1, 150):
        try:
            futures += bench.ask(value)
        except RequestError:
            refused += 1
    bench.wait(0.25)
    assert bench.path == ["tiny"]
    bench.runners["full"].open.set()
    assert (refused, len(answers(futures))) == (109, 41)


def test_it_comes_back_once_the_load_is_gone(bench: Bench) -> None:
    bench.runners["full"].open.clear()
    futures = bench.ask(*range(31))
    bench.runners["full"].wait_for_runs(1)
    bench.wait(0.25)
    bench.runners["full"].open.set()
    answers(futures)
    bench.wait(9)
    assert bench.family.current == "half"
    bench.wait(6)
    assert bench.path == ["half", "full"]
    assert answers(bench.ask(5)) == [(10, "full")]
    assert "safe for" in bench.family.switches[-1].reason


def test_what_moves_finds_room_in_a_full_queue(bench: Bench) -> None:
    """Forty wait for `full`, and `half` has room for forty, of which some are taken by then."""
    for name in ("full", "half"):
        bench.runners[name].open.clear()
    on_full = bench.ask(*range(41)[:1])
    bench.runners["full"].wait_for_runs(1)
    on_full += bench.ask(*range(1, 41))
    with pytest.raises(RequestError, match="queue is full, 40 requests wait"):
        bench.ask(99)
    on_half = [
        bench.family.members[1].scheduler.submit(Wanted({"x": np.full((1, 3), 100.0, np.float32)}))
        for _ in range(10)
    ]
    bench.family.pin("half")
    for name in ("full", "half"):
        bench.runners[name].open.set()
    assert answers(on_full) == [(0.0, "full")] + [(2.0 * value, "half") for value in range(1, 41)]
    assert answers(on_half) == [(200, "half")] * 10


def test_a_cancelled_request_is_not_moved(bench: Bench) -> None:
    bench.runners["full"].open.clear()
    futures = bench.ask(*range(12))
    bench.runners["full"].wait_for_runs(1)
    assert futures[5].cancel()
    bench.wait(0.25)
    assert bench.family.current != "full"
    answers([future for future in futures[1:] if not future.cancelled()])
    assert 5 not in bench.ran(bench.family.current)


def test_a_pin_holds_whatever_comes(bench: Bench) -> None:
    bench.family.pin("full")
    bench.runners["full"].open.clear()
    futures = bench.ask(*range(31))
    bench.runners["full"].wait_for_runs(1)
    bench.wait(5)
    assert bench.path == []
    bench.family.pin(None)
    bench.wait(0.25)
    assert bench.path == ["half"]
    bench.runners["full"].open.set()
    assert len(answers(futures)) == 31


def test_a_pin_switches_and_says_so(bench: Bench) -> None:
    bench.family.pin("tiny")
    assert [(s.from_variant, s.to_variant, s.reason) for s in bench.family.switches] == [
        ("full", "tiny", "pinned by an operator")
    ]
    bench.wait(60)
    assert bench.family.current == "tiny"
    bench.family.pin(None)
    bench.wait(12)
    assert bench.family.current == "full"


def test_a_pin_on_what_is_no_variant_is_404_and_changes_nothing(bench: Bench) -> None:
    bench.family.pin("half")
    with pytest.raises(RequestError, match="no variant 'gone' that is ready") as caught:
        bench.family.pin("gone")
    assert caught.value.status_code == 404
    assert (bench.family.pinned, bench.family.current) == ("half", "half")


def test_heat_moves_it_one_variant_and_it_stays_until_it_is_cool() -> None:
    bench = Bench(temperature_limit_c=80.0)
    bench.temperature_c = 81.0
    assert (bench.family.temperature_c(), Bench().family.temperature_c()) == (81.0, None)
    bench.wait(20)
    assert bench.path == ["half"]
    bench.temperature_c = 77.0
    bench.wait(60)
    assert bench.path == ["half"]
    bench.temperature_c = 74.0
    bench.wait(12)
    assert bench.path == ["half", "full"]
    assert bench.family.close(20)


def test_late_answers_of_the_variant_that_was_left_do_not_count_against_the_next(bench: Bench) -> None:
    bench.runners["full"].open.clear()
    futures = bench.ask(*range(31))
    bench.runners["full"].wait_for_runs(1)
    threading.Event().wait(0.06)  # so that all of them are over the objective of 50 ms
    bench.wait(0.25)
    bench.runners["full"].open.set()
    answers(futures)
    bench.wait(8)
    assert bench.path == ["half"]


def test_every_request_is_answered_once_while_variants_are_switched_all_the_time(bench: Bench) -> None:
    stop = threading.Event()

    def switch() -> None:
        number = 0
        while not stop.is_set():
            bench.family.pin(list(SPEEDS)[number % 3])
            number += 1

    switching = threading.Thread(target=switch)
    switching.start()
    futures: list[Future[Answered]] = []
    for value in range(600):
        wait_until(lambda: bench.family.depth < 30)
        futures += bench.ask(value)
    found = answers(futures)
    stop.set()
    switching.join()
    assert [value for value, _ in found] == [2.0 * value for value in range(600)]
    assert sorted(value for name in SPEEDS for value in bench.ran(name)) == list(range(600))
    assert bench.whole.snapshot().success.count == 600


def test_closing_answers_what_waits_at_every_variant_and_then_refuses() -> None:
    bench = Bench()
    for runner in bench.runners.values():
        runner.open.clear()
    futures = bench.ask(1, 2, 3)
    bench.runners["full"].wait_for_runs(1)
    bench.family.stop_accepting()
    with pytest.raises(RequestError) as caught:
        bench.ask(4)
    assert caught.value.status_code == 503
    bench.family.pin("tiny")  # too late for a switch: who waits is answered where it is
    for runner in bench.runners.values():
        runner.open.set()
    assert bench.family.wait(20)
    assert answers(futures) == [(2, "full"), (4, "full"), (6, "full")]
    assert all(runner.is_closed.is_set() for runner in bench.runners.values())


def test_its_thread_sleeps_while_nobody_asks_and_wakes_when_somebody_does() -> None:
    bench = Bench(watches=True)
    wait_until(lambda: bench.family._sleeps)
    bench.runners["full"].open.clear()
    futures = bench.ask(*range(31))
    wait_until(lambda: bench.family.current == "half")
    bench.runners["full"].open.set()
    assert len(answers(futures)) == 31
    assert bench.family.close(20)
