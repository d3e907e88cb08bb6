"""Dynamic batching: what is joined, that it is split exactly, and that one bad request harms nobody."""

from __future__ import annotations

import numpy as np
import pytest

from device_agent.batching import has_batch_axis, join, kind_of, split
from device_agent.scheduler import Wanted
from device_agent.statistics import Duration, ModelStatistics
from device_agent.waiting import Waiter, WaitingLine
from edge_s4op.artifact import TensorInfo
from edge_s4op.errors import BadInferenceInputError, InferenceError
from edge_s4op.runtime import open_runner
from tests.device_agent.agent_helpers import scaling_artifact
from tests.device_agent.runners import POISON, HeldRunner, scheduler_of, wanted
from tests.device_agent.test_scheduler import FOREVER_S, outputs_of


def behind_a_run(runner: HeldRunner, requests: list[Wanted], **policy: object) -> list:
    """Futures of requests that all waited for one run to end."""
    scheduler = scheduler_of(runner, **policy)
    first = scheduler.submit(wanted(1000))
    runner.wait_for_runs(1)
    futures = [scheduler.submit(request) for request in requests]
    runner.open.set()
    assert outputs_of(first) == [2000]
    return futures


def test_waiting_requests_are_joined_and_split_exactly() -> None:
    runner, statistics = HeldRunner(is_open=False), ModelStatistics()
    requests = [wanted(10), wanted(20, rows=3), wanted(30, rows=2)]
    futures = behind_a_run(runner, requests, statistics=statistics, max_batch=8)
    answers = [future.result(FOREVER_S) for future in futures]
    for request, answer in zip(requests, answers, strict=True):
        assert answer.outputs["y"].tolist() == (2 * request.feeds["x"]).tolist()
        assert answer.outputs["z"].tolist() == (-2 * request.feeds["x"]).tolist()
        assert answer.batch == 6
    assert runner.batches == [[1000], [10, 20, 21, 22, 30, 31]]
    counters = statistics.snapshot()
    assert (counters.inference_count, counters.execution_count, counters.success.count) == (7, 2, 4)
    assert [(batch.batch_size, batch.compute_infer.count) for batch in counters.batches] == [(1, 1), (6, 1)]
    assert counters.queue.count == counters.compute_input.count == counters.compute_output.count == 4
    assert counters.fail == Duration()


def test_no_batch_is_larger_than_allowed_and_the_first_is_never_passed_over() -> None:
    runner = HeldRunner(is_open=False)
    requests = [wanted(10, rows=3), wanted(20, rows=2), wanted(30), wanted(40, rows=4), wanted(50)]
    futures = behind_a_run(runner, requests, max_batch=4)
    assert [outputs_of(future)[0] for future in futures] == [20, 40, 60, 80, 100]
    assert runner.batches[1:] == [[10, 11, 12, 30], [20, 21, 50], [40, 41, 42, 43]]


def test_a_request_larger_than_a_batch_runs_alone() -> None:
    runner = HeldRunner(is_open=False)
    futures = behind_a_run(runner, [wanted(10, rows=9), wanted(30)], max_batch=4)
    assert [len(outputs_of(future)) for future in futures] == [9, 1]
    assert [len(batch) for batch in runner.batches] == [1, 9, 1]


def test_without_a_batch_size_requests_run_one_by_one() -> None:
    runner = HeldRunner(is_open=False)
    for future in behind_a_run(runner, [wanted(1), wanted(2)]):
        assert future.result(FOREVER_S).batch == 1
    assert runner.batches == [[1000], [1], [2]]


def test_the_most_urgent_is_taken_first_with_others_as_far_as_there_is_room() -> None:
    runner = HeldRunner(is_open=False)
    requests = [wanted(10, priority=2), wanted(20, priority=2), wanted(30, priority=1)]
    for future in behind_a_run(runner, requests, max_batch=2, priority_levels=2):
        outputs_of(future)
    assert runner.batches[1:] == [[30, 10], [20]]


def test_a_bad_request_in_a_batch_fails_alone() -> None:
    runner, statistics = HeldRunner(is_open=False), ModelStatistics()
    requests = [wanted(10), wanted(POISON), wanted(30, rows=2)]
    good, bad, also_good = behind_a_run(runner, requests, statistics=statistics, max_batch=8)
    assert outputs_of(good) == [20]
    assert outputs_of(also_good) == [60, 62]
    assert isinstance(bad.exception(FOREVER_S), InferenceError)
    assert runner.batches[1:] == [[10, POISON, 30, 31], [10], [POISON], [30, 31]]
    assert (statistics.snapshot().fail.count, statistics.snapshot().success.count) == (1, 3)


def test_requests_of_other_shapes_dtypes_or_inputs_are_not_joined_and_get_their_own_errors() -> None:
    runner = HeldRunner(is_open=False)
    x = np.ones((1, 3), dtype=np.float32)
    wrong = [
        Wanted({"x": x.astype(np.float64)}),
        Wanted({"x": np.ones((1, 4), dtype=np.float32)}),
        Wanted({"x": x, "w": x}),
        Wanted({"x": np.float32(1).reshape(())}),
        Wanted({"x": np.ones((0, 3), dtype=np.float32)}),
    ]
    futures = behind_a_run(runner, [*wrong, wanted(10), wanted(20)], max_batch=8)
    for future in futures[:-2]:
        assert isinstance(future.exception(FOREVER_S), BadInferenceInputError)
    assert [outputs_of(future) for future in futures[-2:]] == [[20], [40]]
    assert runner.batches[1:] == [[10, 20]]


def test_a_request_waits_for_others_until_the_batch_is_full() -> None:
    runner = HeldRunner()
    scheduler = scheduler_of(runner, max_batch=3, max_delay_ms=60_000)
    futures = [scheduler.submit(wanted(number)) for number in (1, 2, 3)]
    assert [outputs_of(future) for future in futures] == [[2], [4], [6]]
    assert runner.batches == [[1, 2, 3]]


def test_a_request_that_nobody_joins_runs_after_the_delay() -> None:
    runner = HeldRunner()
    scheduler = scheduler_of(runner, max_batch=3, max_delay_ms=30)
    answered = scheduler.submit(wanted(1)).result(FOREVER_S)
    assert answered.queue_ns >= 30e6
    assert runner.batches == [[1]]


def test_what_cannot_be_joined_is_not_kept_waiting() -> None:
    runner = HeldRunner()
    scheduler = scheduler_of(runner, max_batch=3, max_delay_ms=60_000)
    uneven = Wanted({"x": np.ones((2, 3), np.float32), "w": np.ones((1, 3), np.float32)})
    assert isinstance(scheduler.submit(uneven).exception(FOREVER_S), BadInferenceInputError)


def test_a_cancelled_request_is_not_joined() -> None:
    runner = HeldRunner(is_open=False)
    scheduler = scheduler_of(runner, max_batch=8)
    scheduler.submit(wanted(0))
    runner.wait_for_runs(1)
    futures = [scheduler.submit(wanted(number)) for number in (1, 2, 3)]
    assert futures[1].cancel()
    runner.open.set()
    assert [outputs_of(futures[0]), outputs_of(futures[2])] == [[2], [6]]
    assert runner.batches[1:] == [[1, 3]]


@pytest.mark.parametrize(
    ("policy", "sizes"),
    [
        ({"leaves_some": False}, [7]),
        ({"leaves_some": True}, [4, 3]),  # eight are here: half of them, and the other half
        ({"leaves_some": True, "max_delay_ms": 1}, [7]),
        ({"leaves_some": True, "max_batch": 3}, [3, 3, 1]),
        ({"leaves_some": True, "max_batch": 1}, [1] * 7),
    ],
)
def test_workers_leave_some_for_the_next_run(policy: dict[str, object], sizes: list[int]) -> None:
    runner = HeldRunner(is_open=False)
    futures = behind_a_run(runner, [wanted(number) for number in range(7)], **{"max_batch": 8, **policy})
    assert [outputs_of(future) for future in futures] == [[2 * number] for number in range(7)]
    assert [len(batch) for batch in runner.batches[1:]] == sizes


def test_how_many_are_usually_here_falls_slowly() -> None:
    """A rush of requests is over: the part that is taken follows, but not at once."""
    line: WaitingLine[None] = WaitingLine(64, 8, 0.0, 1.0, parts=2)
    taken = []
    for count in [8] + [2] * 40:
        for number in range(count):
            line.put(Waiter(wanted(number).feeds, kind="x"))
        taken.append(len(line.take()))
        line.answered(taken[-1])
        line.clear()
    assert taken[0] == 4
    assert taken[1:3] == [2, 2]
    assert taken[-1] == 1


def test_a_batch_is_what_single_runs_are() -> None:
    """On ONNX Runtime, of an artifact of ours."""
    runner = open_runner(scaling_artifact(3.0))
    generator = np.random.default_rng(0)
    feeds = [{"x": generator.standard_normal((rows, 3), dtype=np.float32)} for rows in (1, 4, 2)]
    parts = split(runner.run(join(feeds)), [1, 4, 2])
    for own, part in zip(feeds, parts, strict=True):
        for name, array in runner.run(own).items():
            assert part[name].tobytes() == array.tobytes()


def test_outputs_whose_rows_do_not_add_up_are_an_error() -> None:
    with pytest.raises(InferenceError, match="'y' cannot be split; expected 3 rows"):
        split({"y": np.zeros((2, 3))}, [1, 2])


def test_a_model_with_an_input_without_rows_is_never_joined() -> None:
    manifest = scaling_artifact().manifest
    assert has_batch_axis(manifest)
    fixed = TensorInfo(name="state", datatype="FP32", shape=(4, 3))
    assert not has_batch_axis(manifest.model_copy(update={"inputs": (*manifest.inputs, fixed)}))


def test_kinds_are_equal_for_what_can_be_joined() -> None:
    x, y = np.zeros((2, 3), np.float32), np.zeros((2, 5), np.int64)
    assert kind_of({"x": x, "y": y}) == kind_of({"y": y[:1], "x": x[:1]})
    assert kind_of({"x": x}) != kind_of({"x": x[:, :2]})
    assert kind_of({"x": x}) != kind_of({"x": x.astype(np.float16)})
    assert kind_of({"x": x, "y": y[:1]}) is None
    assert kind_of({}) is None
