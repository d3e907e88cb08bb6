"""A board's sensors are found by name on every layout; what is missing or broken is absent, never a crash."""

from __future__ import annotations

import math
import shutil
import threading
import time
from pathlib import Path

import pytest

from edge_s4op.profiler.device import device_facts
from edge_s4op.profiler.telemetry import Board, Sensor, TelemetryRecorder, find_board
from tests.edge_s4op import board_trees as trees

BOARDS = {"4": trees.JETPACK_4, "5": trees.JETPACK_5, "6": trees.JETPACK_6, "pc": trees.PC}


def board_of(root: Path, *files: dict[str, str]) -> Board:
    return find_board(trees.build(root, *files))


@pytest.mark.parametrize("version", ["5", "6"])
def test_an_orin(tmp_path: Path, version: str) -> None:
    found = board_of(tmp_path, BOARDS[version]).read()
    shown = {name: round(value, 3) for name, value in found.items() if not name.startswith("throttle")}
    assert shown == {
        "clock cpu": 1510.4,
        "clock gpu": 624.75,
        "clock emc": 2133,
        "temperature cpu": 50.5,
        "temperature gpu": 49,
        "temperature tj": 51.25,
        "power VDD_IN": 7.9,
        "power VDD_CPU_GPU_CV": 1,
        "power VDD_SOC": 0.5,
        "load gpu": 12,
        "fan pwm": 20,
        "fan rpm": 1800,
    }
    assert found["throttle instantaneous over-current (oc3) count"] == 4


def test_a_nano_before_jetpack_5(tmp_path: Path) -> None:
    found = board_of(tmp_path, trees.JETPACK_4).read()
    assert (found["clock gpu"], found["power POM_5V_IN"]) == pytest.approx((624.75, 4.321))
    temperatures = {name for name in found if name.startswith("temperature")}
    assert temperatures == {"temperature ao", "temperature cpu", "temperature gpu"}


def test_a_pc(tmp_path: Path) -> None:
    found = board_of(tmp_path, trees.PC).read()
    assert (found["clock cpu"], found["temperature package id 0"]) == (1400, 47)
    assert "temperature core 0" not in found
    assert found["throttle core 0 count"] == 3


@pytest.mark.parametrize("board", BOARDS)
@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"n/a\n", b"nan\n", b"-1e99\n"])
def test_garbage_in_any_file_is_a_value_that_is_absent(tmp_path: Path, board: str, content: bytes) -> None:
    trees.build(tmp_path, BOARDS[board])
    for name, text in BOARDS[board].items():
        (tmp_path / name).write_bytes(content)
        assert all(math.isfinite(value) and value >= 0 for value in find_board(tmp_path).read().values())
        (tmp_path / name).write_text(text)


@pytest.mark.parametrize("board", BOARDS)
def test_a_folder_in_place_of_any_file_is_no_crash(tmp_path: Path, board: str) -> None:
    trees.build(tmp_path, BOARDS[board])
    for name in BOARDS[board]:
        (tmp_path / name).unlink()
        (tmp_path / name).mkdir()
        find_board(tmp_path).read()


def test_a_sensor_that_vanishes_is_absent_from_the_summary_and_the_rest_is_there(tmp_path: Path) -> None:
    board = board_of(tmp_path, trees.JETPACK_6)
    recorder = TelemetryRecorder(board, sleep=lambda seconds: None)
    recorder.idle(on_gpu=True)
    with recorder.sampling():
        time.sleep(0.15)
        shutil.rmtree(tmp_path / "sys/class/thermal/thermal_zone1")
        shutil.rmtree(tmp_path / "sys/bus")
        time.sleep(0.15)
    summary = recorder.summary()
    assert summary is not None
    names = {sensor.name for sensor in summary.sensors}
    assert {"clock gpu", "temperature cpu"} <= names
    assert not names & {"temperature gpu", "power VDD_IN"}
    assert recorder.energy(1.0, 10) is None


def test_a_time_has_the_reading_nearest_to_it(tmp_path: Path) -> None:
    recorder = TelemetryRecorder(board_of(tmp_path, trees.JETPACK_6), sleep=lambda seconds: None)
    recorder.idle(on_gpu=True)
    with recorder.sampling():
        time.sleep(0.2)
        now_ns = time.perf_counter_ns()
        time.sleep(0.1)
    assert recorder.at(now_ns - 3600 * 10**9) is None
    assert recorder.at(now_ns) == "GPU 625 MHz, 51.2 °C, 7.9 W"


def test_without_a_sensor_nothing_waits_and_no_thread_runs(tmp_path: Path) -> None:
    recorder = TelemetryRecorder(find_board(tmp_path), sleep=lambda seconds: pytest.fail("it waited"))
    recorder.cool_down(1000)
    recorder.idle()
    before = threading.active_count()
    with recorder.sampling():
        assert threading.active_count() == before
    assert (recorder.summary(), recorder.at(0), recorder.energy(1, 1)) == (None, None, None)


def test_one_thread_reads_everything() -> None:
    readers: set[str] = set()

    def read() -> float:
        readers.add(threading.current_thread().name)
        return 50.0

    sensors = Sensor("temperature", "a", "°C", read), Sensor("clock", "b", "MHz", read)
    recorder = TelemetryRecorder(Board(sensors))
    with recorder.sampling():
        time.sleep(0.2)
    assert readers == {"telemetry", threading.current_thread().name}


@pytest.mark.parametrize(
    ("files", "mode"),
    [
        ({}, "25W"),
        ({"var/lib/nvpmodel/status": "pmode:0000 fmode:quiet"}, "15W"),
        ({"var/lib/nvpmodel/status": "?"}, "15W"),
        ({"var/lib/nvpmodel/status": "pmode:0007"}, "mode 7"),
        ({"etc/nvpmodel.conf": "", "var/lib/nvpmodel/status": ""}, None),
    ],
)
def test_the_power_mode_has_its_name(tmp_path: Path, files: dict[str, str], mode: str | None) -> None:
    facts = device_facts({}, trees.build(tmp_path, trees.JETPACK_6, files))
    assert facts.power_mode == mode


def test_limits_of_clocks_say_whether_they_are_locked(tmp_path: Path) -> None:
    locked = {"sys/class/devfreq/17000000.gpu/min_freq": "624750000"}
    facts = device_facts({}, trees.build(tmp_path, trees.JETPACK_6, locked))
    assert facts.clocks == {"cpu": "730 .. 1510 MHz", "gpu": "625 MHz", "emc": "204 .. 2133 MHz"}
