"""What is counted of a served model, and its recent latencies."""

from __future__ import annotations

import threading

import pytest

from device_agent.statistics import BatchStatistics, Duration, ModelStatistics, Statistics

MS = 1_000_000


def test_nothing_has_happened_yet() -> None:
    statistics = ModelStatistics()
    assert statistics.snapshot() == Statistics()
    assert statistics.window() == (None, None, 0.0)


def test_requests_runs_and_rows_are_counted_each_in_their_way() -> None:
    """One run of 5 rows that answered two requests, one of 1 row, one failure, one refusal."""
    statistics = ModelStatistics()
    statistics.ran(5, 1, 20, 3)
    statistics.answered(100, 40, 1, 20, 3)
    statistics.answered(200, 140, 1, 20, 3)
    statistics.ran(1, 0, 10, 0)
    statistics.answered(15, 5, 0, 10, 0)
    statistics.failed(7)
    statistics.rejected(9)
    now = statistics.snapshot()
    assert (now.inference_count, now.execution_count, now.rejected) == (6, 2, 1)
    assert now.success == Duration(3, 315)
    assert now.fail == Duration(2, 16)
    assert now.queue == Duration(3, 185)
    assert (now.compute_input, now.compute_infer, now.compute_output) == (
        Duration(3, 2),
        Duration(3, 50),
        Duration(3, 6),
    )
    assert now.batches == (
        BatchStatistics(1, Duration(1, 0), Duration(1, 10), Duration(1, 0)),
        BatchStatistics(5, Duration(1, 1), Duration(1, 20), Duration(1, 3)),
    )
    assert now.last_inference_ms > 1_700_000_000_000


def test_the_window_has_percentiles_as_trtexec_takes_them() -> None:
    statistics = ModelStatistics()
    for latency_ms in range(1, 201):
        statistics.answered(latency_ms * MS, 0, 0, 0, 0)
    p50_ms, p99_ms, rate_per_s = statistics.window()
    assert (p50_ms, p99_ms) == pytest.approx((100, 198), abs=1)
    assert 0 < rate_per_s <= 200  # over one second at least


def test_the_window_forgets() -> None:
    statistics = ModelStatistics()
    statistics.answered(5 * MS, 0, 0, 0, 0)
    assert statistics.window(seconds=60)[0] == 5
    assert statistics.window(seconds=0) == (None, None, 0.0)


def test_the_window_is_bounded() -> None:
    statistics = ModelStatistics()
    for number in range(10_000):
        statistics.answered(number * MS, 0, 0, 0, 0)
    p50_ms, _, _ = statistics.window()
    assert p50_ms is not None
    assert p50_ms > 10_000 - 4096
    assert statistics.snapshot().success.count == 10_000


def test_counting_in_several_threads_loses_nothing() -> None:
    statistics = ModelStatistics()

    def count() -> None:
        for _ in range(2000):
            statistics.ran(2, 1, 1, 1)
            statistics.answered(3, 1, 1, 1, 1)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    now = statistics.snapshot()
    assert (now.inference_count, now.execution_count, now.success) == (16_000, 8000, Duration(8000, 24_000))
