"""The harness behind `python -m benchmarks.NAME`."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from benchmarks.harness import Report, Timings, interleave, peak_memory_bytes, run, table


def test_the_last_line_is_one_json_object_with_the_figures(capsys: pytest.CaptureFixture[str]) -> None:
    def measure(quick: bool) -> Report:
        return Report(("case", "ms"), [("ours", 1.23456), ("theirs", 20.0)], {"speedup": 16.2})

    run("example", measure, ["--quick"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("# example --quick on ")
    assert lines[1:5] == ["case       ms", "-------------", "ours    1.235", "theirs     20"]
    found = json.loads(lines[-1])
    assert (found["benchmark"], found["quick"], found["speedup"]) == ("example", True, 16.2)


def test_cases_take_turns_and_every_other_round_runs_backwards() -> None:
    calls: list[str] = []
    cases = {name: partial(calls.append, name) for name in "abc"}
    timings = interleave(cases, rounds=3, warmup=1)
    assert calls == [*"abc", *"abc", *"cba", *"abc"]
    assert {name: len(values) for name, values in timings.seconds.items()} == {"a": 3, "b": 3, "c": 3}


def test_the_time_limit_ends_after_a_whole_round() -> None:
    cases: dict[str, Callable[[], object]] = {"slow": partial(time.sleep, 0.02), "fast": lambda: None}
    timings = interleave(cases, rounds=1000, warmup=0, time_limit_s=0.05)
    assert 1 <= len(timings.seconds["slow"]) == len(timings.seconds["fast"]) < 100


def test_the_pause_stands_before_every_turn_and_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[object] = []
    monkeypatch.setattr(time, "sleep", happened.append)
    monkeypatch.setattr(time, "perf_counter", lambda: float(happened.append("clock") or 0))
    interleave({"a": partial(happened.append, "a")}, rounds=2, warmup=1, settle_s=0.25)
    assert happened == ["a", "clock", *([0.25, "clock", "a", "clock", "clock"] * 2)]


def test_a_turn_is_the_median_of_its_calls_after_untimed_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([100.0, 1.0, 9.0, 2.0])  # the first call is not timed
    now = [0.0]

    def case() -> None:
        now[0] += next(seconds)

    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    timings = interleave({"a": case}, rounds=1, warmup=0, lead_in=1, calls=3)
    assert timings.seconds["a"] == (2.0,)


def test_the_ratio_is_taken_round_by_round() -> None:
    ratio = Timings({"a": (2.0, 40.0, 8.0), "b": (1.0, 10.0, 2.0)}).ratio("a", "b")
    assert (ratio.median, ratio.low, ratio.high) == (4.0, 3.0, 4.0)


def test_a_table_refuses_a_row_of_the_wrong_length() -> None:
    with pytest.raises(ValueError, match="shorter"):
        table(("a", "b"), [(1, 2), (1,)])


def hold(megabytes: int) -> Callable[[], object]:
    return lambda: np.ones(megabytes << 20, np.uint8).sum()


@pytest.mark.parametrize("megabytes", [16, 128])
def test_peak_memory_is_what_the_call_held(megabytes: int) -> None:
    found = peak_memory_bytes(partial(hold, megabytes)) / 2**20
    assert megabytes <= found + 1 < megabytes + 8


def die() -> Callable[[], object]:
    return lambda: os._exit(3)


def test_a_measured_process_that_dies_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="exit code 3"):
        peak_memory_bytes(die)
