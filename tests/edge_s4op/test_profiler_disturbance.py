"""What disturbs a measurement is named with its figures, and an idle machine is left alone."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from edge_s4op.profiler.telemetry import Board, TelemetryRecorder
from edge_s4op.profiler.telemetry.disturbance import (
    clock_changes,
    cpu_disturbances,
    gpu_disturbances,
    throttling,
)
from edge_s4op.profiler.telemetry.load import CpuTimes

HOG = "import time\nprint('', flush=True)\nend = time.time() + 20\nwhile time.time() < end: pass"


def kinds(seconds: float, busy_s: float, own_s: float, steal_s: float = 0.0) -> list[str]:
    before, after = CpuTimes(0, 2, 5, 1, 3), CpuTimes(seconds, 2, 5 + busy_s, 1 + steal_s, 3 + own_s)
    return [found.kind for found in cpu_disturbances(before, after)]


@pytest.mark.parametrize("seconds", [0.5, 3.0])
def test_another_program_on_a_core_is_load_and_our_own_time_is_not(seconds: float) -> None:
    assert kinds(seconds, busy_s=2 * seconds, own_s=seconds) == ["cpu-load"]
    assert kinds(seconds, busy_s=seconds + 0.03 * seconds + 0.02, own_s=seconds) == []
    assert kinds(seconds, busy_s=seconds - 0.02, own_s=seconds) == []


def test_a_hosts_steal_is_named_and_a_tick_of_it_is_not() -> None:
    assert kinds(0.5, 0.5, 0.5, steal_s=0.1) == ["cpu-steal"]
    assert kinds(0.5, 0.5, 0.5, steal_s=0.01) == []


def test_a_program_that_runs_beside_a_measurement_is_found() -> None:
    with subprocess.Popen([sys.executable, "-c", HOG], stdout=subprocess.PIPE) as hog:
        assert hog.stdout is not None
        hog.stdout.readline()
        recorder, end = TelemetryRecorder(Board()), time.monotonic() + 1.0
        with recorder.sampling():
            while time.monotonic() < end:
                pass
        hog.kill()
    assert "cpu-load" in [found.kind for found in recorder.disturbances()]


def test_counters_that_rise_states_and_trip_points_are_throttling() -> None:
    count, state = "throttle under-voltage (oc1) count", "throttle cpu-throttle-alert 1 state"
    assert not list(throttling({count: 4}, [{count: 4, state: 0}], {}))
    (risen,) = throttling({count: 4}, [{count: 4}, {count: 7}], {})
    assert risen.kind == "throttling"
    assert "under-voltage (oc1) 3 times" in risen.what
    (slowed,) = throttling({}, [{state: 0}, {state: 1}], {})
    assert "cpu-throttle-alert 1 in 50% of readings" in slowed.what
    assert list(throttling({}, [{"temperature tj": 98.5}], {"temperature tj": 99}))
    assert not list(throttling({}, [{"temperature tj": 90}], {"temperature tj": 99}))


def test_clocks_that_move_are_found_and_one_odd_reading_is_not() -> None:
    steady, odd = [{"clock cpu": 1510.0}] * 20, [{"clock cpu": 730.0}]
    assert not list(clock_changes(steady + odd, ["clock cpu"]))
    (hunting,) = clock_changes(steady + 8 * odd, ["clock cpu"])
    assert (hunting.kind, hunting.what) == ("clocks", "the cpu clock was between 730 and 1510 MHz")
    assert not list(clock_changes(steady, ["clock gpu"]))


def test_other_users_of_the_gpu_are_found() -> None:
    assert [found.kind for found in gpu_disturbances([{"load gpu": 60.0}] * 3, 0)] == ["gpu-load"]
    assert [found.kind for found in gpu_disturbances([{"load gpu": 2.0}] * 3, 1)] == ["gpu-load"]
    assert not list(gpu_disturbances([{"load gpu": 2.0}], 0))
