"""Energy is power beyond idle times time; what the sensor does not cover has none."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pytest

from edge_s4op.messages import Energy, EngineInfo, MeasurementRequest
from edge_s4op.profiler.energy import IDLE_S, SAMPLE_EVERY_S, Reading, energy_of
from edge_s4op.profiler.measure import measure
from edge_s4op.profiler.power import PowerSensor
from edge_s4op.profiler.telemetry import Board, TelemetryRecorder
from edge_s4op.runtime.protocol import PartTimes
from tests.edge_s4op import tiny

IDLE_READINGS = round(IDLE_S / SAMPLE_EVERY_S)
SKIPPED = 0.0  # the reading that only begins a period
MS = 1_000_000
Readings = Iterable[float | Exception | None]


def sensor_of(idle: Readings, busy: Readings) -> PowerSensor:
    """Gives `idle`, then `busy`, whose last one stays."""
    left = [SKIPPED, *idle, SKIPPED, *busy]

    def read() -> float | None:
        value = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(value, Exception):
            raise value
        return value

    return PowerSensor("test", read)


def recorder_of(sensor: PowerSensor | None, **options: Any) -> TelemetryRecorder:
    """A recorder of a board that has only this sensor."""
    return TelemetryRecorder(Board(power=sensor), cpu_times=lambda: None, **options)


def metered(idle: Readings, busy: Readings, readings: int = 4) -> Energy | None:
    """Energy of 100 inferences in 2 s, from so many readings or up to an error."""
    sensor, taken, ended = sensor_of(idle, busy), itertools.count(1), threading.Event()

    def read() -> float | None:
        if next(taken) >= 2 + IDLE_READINGS + readings:
            ended.set()
        try:
            return sensor.read_mw()
        except Exception:
            ended.set()
            raise

    meter = recorder_of(PowerSensor("test", read), sleep=lambda seconds: None)
    meter.idle()
    with meter.sampling():
        assert ended.wait(30)
    return meter.energy(2.0, 100)


def readings(powers_mw: Iterable[float], seconds: float = 0.05) -> list[Reading]:
    return [Reading(power_mw, seconds) for power_mw in powers_mw]


def width_of(energy: Energy) -> float:
    return energy.interval.high - energy.interval.low


def test_energy_is_power_beyond_idle_times_time() -> None:
    energy = metered([2000.0] * IDLE_READINGS, [5000.0])
    assert energy is not None
    assert energy.energy_mj == pytest.approx(60)  # 3 W for 20 ms
    assert energy.total_mj == pytest.approx(100)
    assert (energy.interval.low, energy.interval.high) == pytest.approx((60, 60))
    # SKIPPED is in neither: what a counter counted before idling, or in the warm-up, is not theirs.
    assert (energy.idle_mw, energy.mean_mw) == pytest.approx((2000, 5000))
    assert (energy.source, energy.samples >= 4) == ("test", True)


def test_power_is_sampled_at_10_hz_or_more_and_idling_watched_for_as_long() -> None:
    assert 1 / SAMPLE_EVERY_S >= 10
    assert IDLE_READINGS >= 3
    slept: list[float] = []
    recorder_of(PowerSensor("test", lambda: 1.0), sleep=slept.append).idle()
    assert sum(slept) == pytest.approx(IDLE_S)


def test_a_reading_counts_for_the_time_it_covers() -> None:
    busy = [Reading(8000, 0.3), Reading(4000, 0.1), Reading(4000, 0.1)]
    assert energy_of("test", readings([0, 0]), busy, 1).mean_mw == pytest.approx(6400)

    seconds, ended = iter([*np.arange(7) * 0.05, 10.0, 10.3, 10.4, 10.5]), threading.Event()

    def clock() -> int:
        second = next(seconds, None)
        if second is None:
            ended.set()
        return 11 * 1000 * MS if second is None else round(second * 1000 * MS)

    sensor = sensor_of([0.0] * IDLE_READINGS, [8000.0, 4000.0, 4000.0, None])
    meter = recorder_of(sensor, sleep=lambda seconds: None, clock=clock)
    meter.idle()
    with meter.sampling():
        assert ended.wait(30)
    energy = meter.energy(1, 1)
    assert energy is not None
    assert energy.mean_mw == pytest.approx(6400)


def test_the_interval_is_welchs() -> None:
    scipy_stats = pytest.importorskip("scipy.stats", reason="scipy is not installed")
    idle, busy = [2000.0, 2100.0, 1950.0, 2080.0, 1990.0, 2020.0], [5000.0, 5600.0, 5100.0, 4700.0]
    energy = energy_of("test", readings(idle), readings(busy), 0.02)
    expected = scipy_stats.ttest_ind(busy, idle, equal_var=False).confidence_interval(0.95)
    assert (energy.interval.low + energy.interval.high) / 2 == pytest.approx(energy.energy_mj)
    assert energy.energy_mj == pytest.approx((expected.low + expected.high) / 2 * 0.02)
    ratio = width_of(energy) / ((expected.high - expected.low) * 0.02)
    assert 1 - 1e-9 <= ratio < 1.05  # degrees of freedom are rounded down


def test_a_sensor_that_repeats_itself_does_not_narrow_the_interval() -> None:
    levels = [5000, 5400, 4800, 5200, 4600, 5100, 4900, 5500, 4700, 5300]
    once, repeated = readings(levels), readings(level for level in levels for _ in range(6))
    widths = [width_of(energy_of("test", readings([2000] * 6), busy, 0.02)) for busy in (once, repeated)]
    assert widths[1] == pytest.approx(widths[0])
    assert widths[0] > 0.02 * 2 * 2.262 * np.std(levels, ddof=1) / 10**0.5 * 0.999


@pytest.mark.parametrize("error", [OSError("gone"), PermissionError("no"), ValueError("n/a")])
@pytest.mark.parametrize("when", ["at once", "idle", "running"])
def test_a_sensor_that_vanishes_gives_no_energy(error: Exception, when: str) -> None:
    idle: list[float | Exception | None] = [2000.0] * IDLE_READINGS
    busy: list[float | Exception | None] = [5000.0] * 4
    {"at once": idle, "idle": idle, "running": busy}[when].insert(0 if when == "at once" else 4, error)
    assert metered(idle, busy, readings=9) is None


@pytest.mark.parametrize(("idle", "busy"), [([2000.0] * 6, [5000.0, 5000.0, None]), ([None] * 4, [5000.0])])
def test_too_few_readings_give_no_energy(idle: Readings, busy: Readings) -> None:
    assert metered(idle, busy) is None


class Busy:
    """A runner that takes 20 ms of the wall's time and, by its own clock, exactly 4 ms."""

    backend, backend_version, manifest = "onnxruntime", "1", tiny.manifest(tiny.FLOATS)
    now_ns = 0

    def clock(self) -> int:
        return self.now_ns

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        time.sleep(0.02)
        self.now_ns += 4 * MS
        return {}

    def close(self) -> None:
        pass


class BusyOnGpu(Busy):
    backend = "tensorrt"

    def part_times(self) -> PartTimes:
        return PartTimes(0.1, 3.8, 0.1, 0.05)

    def layer_profile(self) -> list[tuple[str, float]]:
        return []

    def engine_info(self) -> EngineInfo:
        return EngineInfo(
            engine_sha256="0" * 64, key="k", plugin=None, note=None, cuda_graph=True, spin_wait=False
        )


def measured(runner: Busy, power: PowerSensor | None) -> Energy | None:
    request = MeasurementRequest(
        artifact_sha256=tiny.linear_artifact().sha256,
        warmup_ms=4,
        max_warmup_ms=4,
        min_duration_ms=80,
        max_duration_ms=80,
    )
    result = measure(runner, request, clock=runner.clock, device_fingerprint="f", recorder=recorder_of(power))
    return result.result.energy


def test_constant_power_gives_the_exact_energy_of_a_measurement() -> None:
    energy = measured(Busy(), sensor_of([1000.0] * IDLE_READINGS, [6000.0]))
    assert energy is not None
    assert energy.energy_mj == pytest.approx(5 * 4)  # 5 W for the 4 ms of the measurement's clock
    assert energy.total_mj == pytest.approx(6 * 4)


@pytest.mark.parametrize(("runner", "sees_gpu"), [(Busy(), False), (BusyOnGpu(), True)])
def test_a_sensor_that_sees_the_runner_gives_energy(runner: Busy, sees_gpu: bool) -> None:
    assert measured(runner, PowerSensor("test", lambda: 1000.0, sees_gpu)) is not None


def test_a_processors_power_is_not_the_energy_of_a_gpu() -> None:
    sensor = PowerSensor("rapl:package-0", lambda: pytest.fail("it was read"), sees_gpu=False)
    assert measured(BusyOnGpu(), sensor) is None


def test_a_measurement_outlives_its_sensor() -> None:
    assert measured(Busy(), sensor_of([1000.0] * IDLE_READINGS, [6000.0, OSError("gone")])) is None


def test_without_a_sensor_nothing_waits_and_no_thread_runs() -> None:
    meter = recorder_of(None, sleep=lambda seconds: pytest.fail("it waited"))
    before = threading.active_count()
    meter.idle()
    with meter.sampling():
        assert threading.active_count() == before
    assert meter.energy(1.0, 10) is None


def test_no_thread_is_left_when_the_measurement_fails() -> None:
    meter = recorder_of(PowerSensor("test", lambda: 1000.0))
    with pytest.raises(RuntimeError, match="out of memory"), meter.sampling():
        raise RuntimeError("out of memory")
    assert "telemetry" not in {thread.name for thread in threading.enumerate()}
