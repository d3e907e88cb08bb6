"""A disturbed measurement is taken again, and what is kept of several is the least disturbed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_s4op.messages import Disturbance, MeasurementSettings
from host.measuring import Measurement, MeasurementCache, MeasurementKey
from host.remeasuring import less_disturbed, remeasured
from tests.host.search.test_search_measuring import FAILED, KEY, measured

LOAD = Disturbance(kind="cpu-load", what="other processes took 40 % of the CPU")
HOT = Disturbance(kind="throttling", what="the CPU was throttled 3 times")


def taken(job: str, *disturbed: Disturbance, width_ms: float = 0.2) -> Measurement:
    """A measurement of 0.3 ms, its interval so wide."""
    result = measured(KEY).result
    assert result is not None
    interval = result.latency_ms.median_interval.model_copy(update={"high": 0.2 + width_ms})
    latency = result.latency_ms.model_copy(update={"median_interval": interval})
    changes = {"disturbed": disturbed, "latency_ms": latency}
    return Measurement(job_id=job, result=result.model_copy(update=changes))


def again(outcomes: list[Measurement], times: int = 2) -> tuple[Measurement, list[str], int]:
    """What is kept of these outcomes, why it was repeated, and how many were left untaken."""
    why: list[str] = []
    left: Iterator[Measurement] = iter(outcomes)
    kept = remeasured(lambda: next(left), times, why.append)
    return kept, why, len(list(left))


def test_an_undisturbed_measurement_is_taken_once() -> None:
    kept, why, left = again([taken("1"), taken("2")])
    assert (kept.job_id, why, left) == ("1", [], 1)


def test_a_disturbed_one_is_taken_again_until_one_is_not() -> None:
    kept, why, left = again([taken("1", LOAD, LOAD), taken("2", HOT), taken("3")], times=5)
    assert (kept.job_id, why, left) == ("3", ["CPU load", "throttling"], 0)


def test_of_disturbed_ones_the_least_is_kept_with_its_mark() -> None:
    kept, _, left = again([taken("1", LOAD, HOT), taken("2", LOAD), taken("3", LOAD, HOT), taken("4")])
    assert (kept.job_id, left) == ("2", 1)
    assert kept.result is not None
    assert kept.result.disturbed == (LOAD,)


def test_of_equally_disturbed_ones_the_better_known_median_is_kept_not_the_faster() -> None:
    kept, _, _ = again([taken("1", LOAD, width_ms=0.3), taken("2", LOAD), taken("3", LOAD, width_ms=0.4)])
    assert kept.job_id == "2"


def test_none_is_taken_again_where_that_is_not_wanted() -> None:
    kept, why, left = again([taken("1", LOAD), taken("2")], times=0)
    assert (kept.job_id, why, left) == ("1", [], 1)


def test_a_repetition_that_fails_leaves_what_there_was() -> None:
    kept, _, left = again([taken("1", LOAD), FAILED, taken("3")])
    assert (kept.job_id, left) == ("1", 1)
    assert less_disturbed(FAILED, taken("1", LOAD)).job_id == "1"


def test_a_failure_is_not_repeated() -> None:
    kept, _, left = again([FAILED, taken("2")])
    assert (kept, left) == (FAILED, 1)


def test_a_stored_disturbed_one_gets_one_more_chance_and_no_third(tmp_path: Path) -> None:
    cache = MeasurementCache(tmp_path)
    cache.put(KEY, taken("1", LOAD))
    assert cache.get(KEY) == taken("1", LOAD)
    assert MeasurementCache(tmp_path).settled(KEY) is None
    cache.put(KEY, taken("2", LOAD, HOT))
    assert MeasurementCache(tmp_path).settled(KEY) == taken("1", LOAD)


@pytest.mark.parametrize("second", [taken("2"), taken("2", LOAD)])
def test_a_second_chance_that_is_no_worse_replaces_the_first(tmp_path: Path, second: Measurement) -> None:
    cache = MeasurementCache(tmp_path)
    cache.put(KEY, taken("1", LOAD))
    cache.put(KEY, second)
    assert cache.settled(KEY) == second


def test_a_second_chance_that_fails_settles_the_first(tmp_path: Path) -> None:
    cache = MeasurementCache(tmp_path)
    cache.put(KEY, taken("1", LOAD))
    cache.put(KEY, FAILED)
    assert cache.settled(KEY) == cache.get(KEY) == taken("1", LOAD)


def test_an_undisturbed_one_is_settled_at_once_and_no_disturbed_one_replaces_it(tmp_path: Path) -> None:
    cache = MeasurementCache(tmp_path)
    cache.put(KEY, taken("1"))
    assert cache.settled(KEY) == taken("1")
    cache.put(KEY, taken("2", LOAD))
    assert cache.settled(KEY) == taken("1")


def test_a_failure_is_settled_for_this_run(tmp_path: Path) -> None:
    cache = MeasurementCache(tmp_path)
    cache.put(KEY, FAILED)
    assert cache.settled(KEY) == FAILED


def test_what_was_stored_under_fewer_settings_is_another_measurement(tmp_path: Path) -> None:
    """A cache of a version with fewer settings misses; it is no error."""

    class Fewer(MeasurementSettings):
        transfers: bool = False  # stands for a default that was another one

    cache = MeasurementCache(tmp_path)
    old = MeasurementKey(**{**KEY.model_dump(), "settings": Fewer()})
    cache.put(old, taken("1"))
    assert cache.settled(KEY) is None
