"""The recorder: every window is its own, broken sensors are left out, and nothing goes wrong in silence."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_s4op.errors import MeasurementError
from edge_s4op.profiler.power import PowerSensor
from edge_s4op.profiler.sampling import CANCELLED
from edge_s4op.profiler.telemetry import Board, Sensor, TelemetryRecorder

NEVER = Path("/nonexistent")  # no /proc there


class Scripted:
    """A sensor that gives `values`, then the last one for ever, and tells when all of them were read."""

    def __init__(self, *values: float | Exception) -> None:
        self.values, self.read_all = list(values), threading.Event()

    def __call__(self) -> float:
        if len(self.values) == 1:
            self.read_all.set()
        value = self.values.pop(0) if len(self.values) > 1 else self.values[0]
        if isinstance(value, Exception):
            raise value
        return value


def clock_of(read: Callable[[], float], what: str = "cpu") -> Sensor:
    return Sensor("clock", what, "MHz", read)


def temperature_of(read: Callable[[], float]) -> Sensor:
    return Sensor("temperature", "gpu", "°C", read)


def recorder_of(*sensors: Sensor, power: PowerSensor | None = None) -> TelemetryRecorder:
    return TelemetryRecorder(Board(sensors, power), root=NEVER, sleep=lambda seconds: None)


def record(recorder: TelemetryRecorder, *until: Scripted) -> TelemetryRecorder:
    """Sample until all values of all sensors were read."""
    with recorder.sampling():
        assert all(sensor.read_all.wait(30) for sensor in until)
    return recorder


def names(recorder: TelemetryRecorder) -> set[str]:
    summary = recorder.summary()
    return {sensor.name for sensor in summary.sensors} if summary else set()


def test_making_one_reads_nothing() -> None:
    def read() -> float:
        return pytest.fail("it was read")

    recorder = recorder_of(temperature_of(read), power=PowerSensor("test", read))
    assert (recorder.summary(), recorder.at(0), recorder.energy(1, 1)) == (None, None, None)
    assert recorder.disturbances() == ()


def test_a_summary_has_least_mean_and_most() -> None:
    sensor = Scripted(50.0, 70.0, 60.0)
    summary = record(recorder_of(temperature_of(sensor)), sensor).summary()
    assert summary is not None
    (found,) = summary.sensors
    assert (found.name, found.unit, found.minimum, found.maximum) == ("temperature gpu", "°C", 50, 70)
    assert 50 < found.mean < 70
    assert found.readings == summary.readings >= 3
    assert summary.period_ms > 0


def test_every_window_starts_anew() -> None:
    sensor = Scripted(90.0, 90.0, 40.0)
    recorder = record(recorder_of(temperature_of(sensor)), sensor)
    with recorder.sampling():
        pass
    summary = recorder.summary()
    assert summary is not None
    assert summary.sensors[0].maximum == 40


def test_a_sensor_that_fails_is_left_out_and_the_others_stay() -> None:
    broken, whole = Scripted(50.0, OSError("gone"), 51.0, 52.0), Scripted(*range(1000, 1006))
    recorder = record(recorder_of(temperature_of(broken), clock_of(whole)), whole)
    assert names(recorder) == {"clock cpu"}
    assert broken.values == [51.0, 52.0]  # never read again


def test_an_unforeseen_error_of_a_sensor_is_raised_when_sampling_ends() -> None:
    sensor = Scripted(50.0, 50.0, ZeroDivisionError("a bug"))
    with pytest.raises(ZeroDivisionError, match="a bug"):
        record(recorder_of(temperature_of(sensor)), sensor)


def test_the_measurements_own_error_comes_first_and_the_sensors_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sensor = Scripted(50.0, ZeroDivisionError("a bug"))

    def cancelled() -> None:
        with recorder_of(temperature_of(sensor)).sampling():
            assert sensor.read_all.wait(30)
            raise MeasurementError(CANCELLED)

    with caplog.at_level(logging.ERROR), pytest.raises(MeasurementError, match=CANCELLED):
        cancelled()
    assert "a bug" in caplog.text


def test_it_may_be_asked_from_other_threads_while_it_samples() -> None:
    sensor = Scripted(*range(40, 50))
    recorder = recorder_of(temperature_of(sensor))
    failures: list[Exception] = []

    def ask() -> None:
        while not sensor.read_all.is_set():
            try:
                recorder.summary(), recorder.at(0), recorder.disturbances(), recorder.energy(1, 1)
            except Exception as error:
                failures.append(error)
                return

    asking = threading.Thread(target=ask)
    with recorder.sampling():
        asking.start()
        assert sensor.read_all.wait(30)
    asking.join()
    assert not failures


def test_a_processors_power_is_shown_though_it_is_no_sensor_of_the_board() -> None:
    power = Scripted(9e9, *[2000.0] * 6, 9e9, 5000.0, 5000.0)
    recorder = recorder_of(power=PowerSensor("rapl:package-0", power, sees_gpu=False))
    recorder.idle(on_gpu=False)
    summary = record(recorder, power).summary()
    assert summary is not None
    (found,) = summary.sensors
    # 9e9: what was counted before a window is not its own.
    assert (found.name, found.unit, found.mean) == ("power package-0", "W", 5)


def test_power_that_fails_leaves_no_energy_and_no_field() -> None:
    power = Scripted(*[2000.0] * 8, *[5000.0] * 5, OSError("gone"))
    steady = Scripted(*range(40, 60))
    recorder = recorder_of(temperature_of(steady), power=PowerSensor("rapl:package-0", power))
    recorder.idle(on_gpu=False)
    record(recorder, steady, power)
    assert recorder.energy(1.0, 10) is None
    assert names(recorder) == {"temperature gpu"}


def test_clocks_may_follow_the_load_at_first_and_not_later() -> None:
    rising, falling = Scripted(*[700.0] * 4, *[1500.0] * 20), Scripted(*[1500.0] * 12, *[900.0] * 12)
    assert record(recorder_of(clock_of(rising)), rising).disturbances() == ()
    found = record(recorder_of(clock_of(falling)), falling).disturbances()
    assert [disturbance.kind for disturbance in found] == ["clocks"]
    assert "900 and 1500 MHz" in found[0].what


@pytest.mark.parametrize(("on_gpu", "idle"), [(True, "cpu"), (False, "gpu")])
def test_a_part_that_the_model_leaves_idle_may_hunt(on_gpu: bool, idle: str) -> None:
    hunting = Scripted(*[300.0, 1500.0] * 12)
    recorder = recorder_of(clock_of(hunting, idle))
    recorder.idle(on_gpu)
    assert record(recorder, hunting).disturbances() == ()
    assert names(recorder) == {f"clock {idle}"}


@pytest.mark.parametrize(
    ("pids", "on_gpu", "kinds"),
    [
        ({os.getpid()}, True, []),
        ({os.getpid(), 1}, True, ["gpu-load"]),
        ({7, 8}, True, ["gpu-load"]),  # a container: one of them is this process
        ({7}, True, []),
        ({os.getpid(), 1}, False, []),
        (None, True, []),
    ],
)
def test_others_on_the_gpu_are_seen_by_models_on_the_gpu(
    pids: set[int] | None, on_gpu: bool, kinds: list[str]
) -> None:
    recorder = TelemetryRecorder(Board(gpu_processes=lambda: pids), root=NEVER)
    recorder.idle(on_gpu)
    with recorder.sampling():
        pass
    assert [found.kind for found in recorder.disturbances()] == kinds


class Room:
    """A board that is at `celsius`, and cools by a degree whenever something sleeps."""

    def __init__(self) -> None:
        self.celsius, self.now_ns = 60.0, 0
        sensor = temperature_of(lambda: self.celsius)
        self.recorder = TelemetryRecorder(
            Board((sensor,)), root=NEVER, clock=lambda: self.now_ns, sleep=self.sleep
        )

    def sleep(self, seconds: float) -> None:
        self.celsius -= 1
        self.now_ns += round(seconds * 1e9)

    def measured_at(self, celsius: float) -> float:
        """Time waited before a measurement of a board that is so warm, ms."""
        self.celsius = celsius
        waited_ms = self.recorder.cool_down(5000, lambda: False)
        self.recorder.idle(on_gpu=False)
        return waited_ms


def test_the_first_level_is_the_reference_and_a_cooler_one_replaces_it() -> None:
    room = Room()
    assert room.measured_at(60) == 0
    assert room.measured_at(65) == pytest.approx(300)  # to 62
    assert room.measured_at(40) == 0
    assert room.measured_at(60) == pytest.approx(1800)  # to 42


def test_a_room_that_got_warmer_is_waited_for_once() -> None:
    room = Room()
    room.measured_at(20)
    assert room.measured_at(90) == 5000
    assert room.measured_at(41) == 0


def test_cooling_down_can_be_cancelled() -> None:
    room = Room()
    room.measured_at(20)
    room.celsius = 90
    with pytest.raises(MeasurementError) as error:
        room.recorder.cool_down(5000, lambda: True)
    assert error.value.what == CANCELLED
