"""The scheduler: whose turn it is, how long one waits, when one is refused, what runs at once."""

from __future__ import annotations

import threading
from concurrent.futures import Future

import pytest

from device_agent.errors import RequestError
from device_agent.lease import DeviceLease
from device_agent.scheduler import Answered, ClosingError
from device_agent.statistics import ModelStatistics
from device_agent.traffic import Traffic
from edge_s4op.errors import BadInferenceInputError, InferenceError
from tests.device_agent.fakes import wait_until
from tests.device_agent.runners import POISON, HeldRunner, scheduler_of, wanted

FOREVER_S = 30


def outputs_of(future: Future[Answered]) -> list[float]:
    return future.result(FOREVER_S).outputs["y"][:, 0].tolist()


def refusal_of(future: Future[Answered]) -> RequestError:
    error = future.exception(FOREVER_S)
    assert isinstance(error, RequestError)
    assert error.status_code == 503
    return error


def test_a_request_is_answered_with_what_it_took() -> None:
    runner, statistics = HeldRunner(), ModelStatistics()
    scheduler = scheduler_of(runner, statistics=statistics)
    answered = scheduler.submit(wanted(3.0)).result(FOREVER_S)
    assert answered.outputs["y"].tolist() == [[6, 0, 2]]
    assert answered.outputs["z"].tolist() == [[-6, 0, -2]]
    assert (answered.variant, answered.batch) == (None, 1)
    assert answered.queue_ns > 0
    assert answered.infer_ns > 0
    assert scheduler.close(FOREVER_S)
    assert runner.is_closed.is_set()


def test_the_most_urgent_level_runs_next_and_equals_run_as_they_came() -> None:
    runner = HeldRunner(is_open=False)
    scheduler = scheduler_of(runner, priority_levels=3, default_priority=2)
    futures = [scheduler.submit(wanted(0))]
    runner.wait_for_runs(1)
    # 0 and a level the model lacks mean its default, 2
    for number, priority in enumerate([3, 2, 1, 0, 9, 1, 3], 1):
        futures.append(scheduler.submit(wanted(number, priority=priority)))
    assert scheduler.depth == 7
    runner.open.set()
    assert [outputs_of(future) for future in futures] == [[2.0 * number] for number in range(8)]
    assert runner.batches == [[0], [3], [6], [2], [4], [5], [1], [7]]


@pytest.mark.parametrize(("levels", "given", "first"), [(3, None, 2), (3, 1, 1), (1, None, 1), (4, None, 2)])
def test_a_request_that_names_no_level_has_the_default(levels: int, given: int | None, first: int) -> None:
    runner = HeldRunner(is_open=False)
    scheduler = scheduler_of(runner, priority_levels=levels, default_priority=given)
    futures = [scheduler.submit(wanted(0))]
    runner.wait_for_runs(1)
    futures += [scheduler.submit(wanted(level, priority=level)) for level in range(1, levels + 1)]
    futures.append(scheduler.submit(wanted(100)))  # as urgent as level `first`, and after it
    runner.open.set()
    for future in futures:
        outputs_of(future)
    levels_run = [batch[0] for batch in runner.batches[1:]]
    assert levels_run.index(100) == first


def test_a_full_queue_refuses_at_once_and_says_when_to_come_back() -> None:
    runner, statistics = HeldRunner(is_open=False), ModelStatistics()
    scheduler = scheduler_of(runner, statistics=statistics, max_queue=3)
    futures = [scheduler.submit(wanted(0))]
    runner.wait_for_runs(1)
    for number in (1, 2, 3):
        scheduler.refuse_if_full()
        futures.append(scheduler.submit(wanted(number)))
    for refuse in (lambda: scheduler.submit(wanted(4)), scheduler.refuse_if_full):
        with pytest.raises(RequestError, match="queue is full, 3 requests wait") as caught:
            refuse()
        assert (caught.value.status_code, caught.value.retry_after_s) == (503, 1)
    assert statistics.snapshot().rejected == 2
    runner.open.set()
    assert [outputs_of(future) for future in futures] == [[0], [2], [4], [6]]
    assert outputs_of(scheduler.submit(wanted(4))) == [8]


def test_the_time_to_come_back_grows_with_the_queue_and_the_time_of_a_run() -> None:
    runner = HeldRunner(is_open=False)
    scheduler = scheduler_of(runner, max_queue=4)
    threading.Timer(1.2, runner.open.set).start()
    outputs_of(scheduler.submit(wanted(0)))  # takes 1.2 s or more, which is the mean by now
    runner.open.clear()
    scheduler.submit(wanted(1))
    runner.wait_for_runs(2)
    for number in range(4):
        scheduler.submit(wanted(number))
    with pytest.raises(RequestError) as caught:
        scheduler.submit(wanted(9))
    assert caught.value.retry_after_s >= 5  # 4 x 1.2 s, rounded up
    runner.open.set()


def test_who_gives_up_makes_room() -> None:
    runner = HeldRunner(is_open=False)
    scheduler = scheduler_of(runner, max_queue=1)
    running = scheduler.submit(wanted(0))
    runner.wait_for_runs(1)
    given_up = scheduler.submit(wanted(1))
    assert given_up.cancel()
    assert not running.cancel()
    scheduler.refuse_if_full()
    last = scheduler.submit(wanted(2))
    runner.open.set()
    assert outputs_of(last) == [4]
    assert runner.batches == [[0], [2]]


@pytest.mark.parametrize(
    ("model_ms", "request_s"), [(None, 0.05), (50, None), (50, 1000.0), (3_600_000, 0.05)]
)
def test_a_request_that_waits_too_long_is_refused_while_the_worker_is_busy(
    model_ms: float | None, request_s: float | None
) -> None:
    """The shorter of the model's limit and the request's."""
    runner, statistics = HeldRunner(is_open=False), ModelStatistics()
    scheduler = scheduler_of(runner, statistics=statistics, timeout_ms=model_ms)
    running = scheduler.submit(wanted(0, timeout_s=1000.0))
    runner.wait_for_runs(1)
    assert "timed out in the queue" in str(refusal_of(scheduler.submit(wanted(1, timeout_s=request_s))))
    assert scheduler.depth == 0
    runner.open.set()
    assert outputs_of(running) == [0]  # it had begun in time
    assert runner.batches == [[0]]
    assert statistics.snapshot().rejected == 1


def test_a_time_limit_that_comes_later_is_kept_first() -> None:
    runner = HeldRunner(is_open=False)
    scheduler = scheduler_of(runner)
    scheduler.submit(wanted(0))
    runner.wait_for_runs(1)
    patient = scheduler.submit(wanted(1, timeout_s=1000.0))
    refusal_of(scheduler.submit(wanted(2, timeout_s=0.05)))
    assert not patient.done()
    runner.open.set()
    assert outputs_of(patient) == [2]


def test_errors_are_those_of_the_request() -> None:
    runner, statistics = HeldRunner(), ModelStatistics()
    scheduler = scheduler_of(runner, statistics=statistics)
    wrong = wanted(1)
    wrong = type(wrong)({"w": wrong.feeds["x"]})
    assert isinstance(scheduler.submit(wrong).exception(FOREVER_S), BadInferenceInputError)
    assert isinstance(scheduler.submit(type(wrong)({})).exception(FOREVER_S), BadInferenceInputError)
    assert isinstance(scheduler.submit(wanted(POISON)).exception(FOREVER_S), InferenceError)
    assert outputs_of(scheduler.submit(wanted(1))) == [2]
    counters = statistics.snapshot()
    assert (counters.fail.count, counters.success.count, counters.execution_count) == (3, 1, 1)


def test_instances_run_at_once_and_no_more() -> None:
    runner = HeldRunner(is_open=False)
    scheduler = scheduler_of(runner, instances=3)
    futures = [scheduler.submit(wanted(number)) for number in range(5)]
    runner.wait_for_runs(3)
    wait_until(lambda: scheduler.depth == 2)
    runner.open.set()
    assert [outputs_of(future) for future in futures] == [[2.0 * number] for number in range(5)]
    assert runner.most_running == 3
    assert scheduler.close(FOREVER_S)
    assert runner.complaints == []


def test_closing_answers_what_waits_and_refuses_what_comes() -> None:
    runner = HeldRunner(is_open=False)
    scheduler = scheduler_of(runner, max_delay_ms=60_000, max_batch=2)
    futures = [scheduler.submit(wanted(number, rows=2)) for number in range(3)]
    runner.wait_for_runs(1)
    lingering = scheduler.submit(wanted(9))  # it would wait a minute for others
    scheduler.stop_accepting()
    with pytest.raises(ClosingError) as caught:
        scheduler.submit(wanted(4))
    assert (caught.value.status_code, caught.value.retry_after_s) == (503, 1)
    runner.open.set()
    assert [outputs_of(future)[0] for future in futures] == [0, 2, 4]
    assert outputs_of(lingering) == [18]
    assert scheduler.wait(FOREVER_S)
    assert runner.is_closed.is_set()
    assert runner.complaints == []


def test_what_cannot_be_answered_in_time_is_refused_and_the_runner_closed_after_its_run() -> None:
    runner = HeldRunner(is_open=False)
    scheduler = scheduler_of(runner)
    running = scheduler.submit(wanted(0))
    runner.wait_for_runs(1)
    waiting = scheduler.submit(wanted(1))
    assert not scheduler.close(0.05)
    assert "being closed" in str(refusal_of(waiting))
    assert not runner.is_closed.is_set()
    runner.open.set()
    assert outputs_of(running) == [0]
    assert scheduler.wait(FOREVER_S)
    assert runner.is_closed.is_set()
    assert runner.complaints == []


def test_requests_wait_for_a_measurement_and_run_when_it_has_ended() -> None:
    runner, lease = HeldRunner(), DeviceLease()
    scheduler = scheduler_of(runner, lease=lease)
    with lease.hold("measurement 1"):
        futures = [scheduler.submit(wanted(number)) for number in range(3)]
        assert scheduler.depth == 3
        assert runner.batches == []
    assert [outputs_of(future) for future in futures] == [[0], [2], [4]]


def test_a_measurement_that_takes_too_long_is_named() -> None:
    runner, lease = HeldRunner(), DeviceLease()
    scheduler = scheduler_of(runner, lease=lease, lease_wait_s=0.05)
    with lease.hold("measurement 1", remaining_s=lambda: 41.5):
        futures = [scheduler.submit(wanted(number)) for number in range(3)]
        for future in futures:
            error = refusal_of(future)
            assert "measurement 1" in str(error)
            assert error.retry_after_s == 42
    assert runner.batches == []
    assert outputs_of(scheduler.submit(wanted(5))) == [10]


def test_a_measurement_waits_for_runs_under_way_and_keeps_off_later_ones() -> None:
    runner, lease, measured = HeldRunner(is_open=False), DeviceLease(), threading.Event()
    scheduler = scheduler_of(runner, lease=lease, instances=2)
    first = scheduler.submit(wanted(0))
    runner.wait_for_runs(1)
    inside: list[int] = []

    def measure() -> None:
        with lease.hold("measurement 1"):
            inside.append(runner.running)
            assert measured.wait(FOREVER_S)
            inside.append(runner.running)

    thread = threading.Thread(target=measure)
    thread.start()
    wait_until(lambda: not lease.try_share() or lease.unshare())  # it asks for the device
    second = scheduler.submit(wanted(1))  # a worker is free, the device is promised
    runner.open.set()
    assert outputs_of(first) == [0]
    wait_until(lambda: inside == [0])
    assert not second.done()
    measured.set()
    assert outputs_of(second) == [2]
    thread.join()
    assert inside == [0, 0]


def test_an_open_gate_lets_requests_run_beside_a_measurement_and_counts_them() -> None:
    runner, lease, traffic = HeldRunner(), DeviceLease(), Traffic()
    scheduler = scheduler_of(runner, lease=lease, shares=True, traffic=traffic)
    with lease.hold("measurement 1"):
        mark = traffic.mark()
        assert outputs_of(scheduler.submit(wanted(1))) == [2]
        assert outputs_of(scheduler.submit(wanted(2))) == [4]
        wait_until(lambda: traffic.since(traffic.mark()) == 0)
        assert traffic.since(mark) == 2


def test_closing_does_not_wait_for_a_measurement_longer_than_told() -> None:
    runner, lease = HeldRunner(), DeviceLease()
    scheduler = scheduler_of(runner, lease=lease)
    with lease.hold("measurement 1"):
        waiting = scheduler.submit(wanted(1))
        assert not scheduler.close(0.05)
        refusal_of(waiting)
        assert scheduler.wait(FOREVER_S)  # the worker has left, too
    assert runner.batches == []


def test_the_runner_is_closed_by_the_last_worker_only() -> None:
    others = set(threading.enumerate())
    runner = HeldRunner(is_open=False)
    scheduler = scheduler_of(runner, instances=3)
    running = scheduler.submit(wanted(1))
    runner.wait_for_runs(1)
    scheduler.stop_accepting()
    wait_until(lambda: len(set(threading.enumerate()) - others) == 1)  # those without work have left
    assert not runner.is_closed.is_set()
    runner.open.set()
    assert outputs_of(running) == [2]
    assert scheduler.wait(FOREVER_S)
    assert runner.complaints == []
