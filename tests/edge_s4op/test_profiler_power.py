"""Power from trees laid out as the boards lay them out."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import pytest

from edge_s4op.profiler.power import PowerMeter, PowerSensor, find_power_sensor


def hwmon(sys: Path, **rails: tuple[int, int]) -> Path:
    """JetPack 5 and 6 (Orin): one hwmon folder, rails by label, mV and mA."""
    folder = sys / "bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3"
    folder.mkdir(parents=True)
    for number, (label, (millivolts, milliamperes)) in enumerate(rails.items(), start=1):
        (folder / f"in{number}_label").write_text(f"{label}\n")
        (folder / f"in{number}_input").write_text(f"{millivolts}\n")
        (folder / f"curr{number}_input").write_text(f"{milliamperes}\n")
    return folder


def rapl(sys: Path, energy_uj: int) -> Path:
    zone = sys / "class/powercap/intel-rapl:0"
    zone.mkdir(parents=True)
    (zone / "energy_uj").write_text(f"{energy_uj}\n")
    (zone / "max_energy_range_uj").write_text("1000000\n")
    return zone


def test_an_orins_input_rail_is_found_among_the_others(tmp_path: Path) -> None:
    hwmon(tmp_path, VDD_CPU_GPU_CV=(5000, 300), VDD_IN=(5000, 1200), VDD_SOC=(5000, 100))
    sensor = find_power_sensor(tmp_path)
    assert sensor is not None
    assert (sensor.source, sensor.read_mw()) == ("ina3221:VDD_IN", 6000)


def test_a_jetson_before_jetpack_5_reports_power_through_iio(tmp_path: Path) -> None:
    folder = tmp_path / "bus/i2c/drivers/ina3221x/6-0040/iio:device0"
    folder.mkdir(parents=True)
    (folder / "rail_name_0").write_text("POM_5V_IN\n")
    (folder / "in_power0_input").write_text("4321\n")
    sensor = find_power_sensor(tmp_path)
    assert sensor is not None
    assert (sensor.source, sensor.read_mw()) == ("ina3221:POM_5V_IN", 4321)


def test_a_pcs_counter_gives_power_and_wraps_around(tmp_path: Path) -> None:
    clock = itertools.count(0, 0.5)
    zone = rapl(tmp_path, 900_000)
    sensor = find_power_sensor(tmp_path, clock=lambda: next(clock))
    assert sensor is not None
    (zone / "energy_uj").write_text("950000\n")
    assert sensor.read_mw() == pytest.approx(100)  # 50 mJ in half a second
    (zone / "energy_uj").write_text("20000\n")
    assert sensor.read_mw() == pytest.approx(140)  # 70 mJ over the end of the range


@pytest.mark.parametrize("layout", ["nothing", "no input rail", "no current", "text"])
def test_what_cannot_be_read_is_no_sensor(tmp_path: Path, layout: str) -> None:
    if layout == "no input rail":
        hwmon(tmp_path, VDD_SOC=(5000, 100))
    elif layout == "no current":
        (hwmon(tmp_path, VDD_IN=(5000, 100)) / "curr1_input").unlink()
    elif layout == "text":
        (hwmon(tmp_path, VDD_IN=(5000, 100)) / "in1_input").write_text("n/a")
    assert find_power_sensor(tmp_path) is None


def metered(readings: list[float | Exception | None], busy_s: float = 0.3) -> PowerMeter:
    """A meter whose sensor gives six idle readings, then the rest, whose last one stays."""
    left = list(readings)

    def read() -> float | None:
        value = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(value, Exception):
            raise value
        return value

    meter = PowerMeter(PowerSensor("test", read), sleep=lambda seconds: None)
    meter.idle()
    meter.start()
    time.sleep(busy_s)
    meter.stop()
    return meter


def test_energy_is_power_beyond_idle_times_time() -> None:
    energy = metered([2000.0] * 6 + [5000.0]).energy(duration_s=2.0, inferences=100)
    assert energy is not None
    assert energy.energy_mj == pytest.approx(60)  # 3 W for 20 ms
    assert energy.total_mj == pytest.approx(100)
    assert (energy.interval.low, energy.interval.high) == pytest.approx((60, 60))
    assert energy.samples >= 3


def test_unsteady_power_widens_the_interval() -> None:
    noisy = [2000.0] * 6 + [4000.0, 6000.0] * 200
    energy = metered(noisy).energy(2.0, 100)
    assert energy is not None
    assert energy.interval.high - energy.interval.low > 10
    assert energy.interval.low < energy.energy_mj < energy.interval.high


@pytest.mark.parametrize(
    "readings", [[OSError("gone")], [2000.0] * 7 + [OSError("gone")], [2000.0] * 8 + [ValueError("n/a")]]
)
def test_a_sensor_that_vanishes_gives_no_energy(readings: list[float | Exception | None]) -> None:
    assert metered(readings).energy(2.0, 100) is None


def test_too_few_samples_give_no_energy() -> None:
    assert metered([2000.0], busy_s=0.0).energy(0.01, 1) is None


def test_without_a_sensor_nothing_runs() -> None:
    meter = PowerMeter(None, sleep=lambda seconds: pytest.fail("it waited"))
    meter.idle()
    meter.start()
    meter.stop()
    assert meter.energy(1.0, 10) is None
