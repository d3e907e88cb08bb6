"""Power sensors are found in trees laid out as the boards lay them out; nothing else is taken for one."""

from __future__ import annotations

import itertools
import os
import shutil
from pathlib import Path

import pytest

from edge_s4op.profiler.power import PowerSensor, find_power_sensor

ORIN_NANO = {"VDD_IN": (5000, 1200), "VDD_CPU_GPU_CV": (5000, 300), "VDD_SOC": (5000, 100)}


def hwmon(sys: Path, rails: dict[str, tuple[int, int]], chip: str = "1-0040", folder: str = "hwmon3") -> Path:
    """An INA3221 as JetPack 5 and 6 show it: rails by label, mV and mA; "" is not connected."""
    path = sys / "bus/i2c/drivers/ina3221" / chip / "hwmon" / folder
    path.mkdir(parents=True)
    for number, (label, (millivolts, milliamperes)) in enumerate(rails.items(), start=1):
        (path / f"in{number}_label").write_text(f"{label}\n")
        (path / f"in{number}_input").write_text(f"{millivolts}\n")
        (path / f"curr{number}_input").write_text(f"{milliamperes}\n")
    (path / "in7_label").write_text("sum of shunt voltages\n")
    (path / "in7_input").write_text("1\n")
    return path


def iio(sys: Path, chip: str, **rails: int) -> None:
    """An INA3221 as JetPack 4 shows it: power in mW."""
    path = sys / "bus/i2c/drivers/ina3221x" / chip / "iio:device0"
    path.mkdir(parents=True)
    for number, (label, milliwatts) in enumerate(rails.items()):
        (path / f"rail_name_{number}").write_text(f"{label}\n")
        (path / f"in_power{number}_input").write_text(f"{milliwatts}\n")


def rapl(sys: Path, zone: str = "intel-rapl:0", name: str = "package-0", energy_uj: int = 0) -> Path:
    path = sys / "class/powercap" / zone
    path.mkdir(parents=True)
    (path / "name").write_text(f"{name}\n")
    (path / "energy_uj").write_text(f"{energy_uj}\n")
    (path / "max_energy_range_uj").write_text("1000000\n")
    return path


def found(sys: Path) -> PowerSensor:
    """The sensor of `sys`, whose clock goes on half a second each time it is looked at."""
    ticks = itertools.count(0, 0.5)
    sensor = find_power_sensor(sys, clock=lambda: next(ticks))
    assert sensor is not None
    return sensor


@pytest.mark.parametrize(("chip", "folder"), [("1-0040", "hwmon3"), ("7-0041", "hwmon1")])
def test_the_input_rail_is_the_whole_module(tmp_path: Path, chip: str, folder: str) -> None:
    hwmon(tmp_path, ORIN_NANO, chip, folder)
    sensor = found(tmp_path)
    assert (sensor.source, sensor.read_mw(), sensor.sees_gpu) == ("ina3221:VDD_IN", 6000, True)


def test_an_agx_orin_has_no_input_rail_and_is_the_sum_of_its_two_supplies(tmp_path: Path) -> None:
    rails = {"VDD_GPU_SOC": (20000, 500), "VDD_CPU_CV": (20000, 200), "VIN_SYS_5V0": (5000, 900)}
    hwmon(tmp_path, rails)
    hwmon(tmp_path, {"": (0, 0), "VDDQ_VDD2_1V8AO": (5000, 200)}, "1-0041", "hwmon4")
    sensor = found(tmp_path)
    assert sensor.source == "ina3221:VDD_GPU_SOC+VDD_CPU_CV+VIN_SYS_5V0"
    assert sensor.read_mw() == 10_000 + 4_000 + 4_500  # memory is in the last one


def test_an_agx_xavier_is_the_sum_of_the_rails_of_both_its_chips(tmp_path: Path) -> None:
    hwmon(tmp_path, {"GPU": (19000, 100), "CPU": (19000, 20), "SOC": (19000, 40)})
    hwmon(tmp_path, {"CV": (19000, 10), "VDDRQ": (19000, 30), "SYS5V": (5000, 400)}, "1-0041", "hwmon4")
    sensor = found(tmp_path)
    assert sensor.source == "ina3221:GPU+CPU+SOC+CV+VDDRQ+SYS5V"
    assert sensor.read_mw() == 19 * 200 + 2000


def test_before_jetpack_5_power_is_reported_through_iio(tmp_path: Path) -> None:
    iio(tmp_path, "6-0040", POM_5V_IN=4321, POM_5V_GPU=1000)
    sensor = found(tmp_path)
    assert (sensor.source, sensor.read_mw()) == ("ina3221:POM_5V_IN", 4321)


@pytest.mark.parametrize("missing", ["VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"])
def test_a_sum_that_lacks_a_rail_is_not_the_module(tmp_path: Path, missing: str) -> None:
    rails = {"VDD_GPU_SOC": (20000, 500), "VDD_CPU_CV": (20000, 200), "VIN_SYS_5V0": (5000, 900)}
    hwmon(tmp_path, {name: value for name, value in rails.items() if name != missing})
    assert find_power_sensor(tmp_path) is None


@pytest.mark.parametrize("file", ["in1_label", "in1_input", "curr1_input"])
@pytest.mark.parametrize("content", [None, b"", b"n/a\n", b"nan\n", b"\xff\xfe\n"])
def test_what_cannot_be_read_is_no_sensor(tmp_path: Path, file: str, content: bytes | None) -> None:
    path = hwmon(tmp_path, ORIN_NANO) / file
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    assert find_power_sensor(tmp_path) is None


def test_an_empty_tree_has_no_sensor(tmp_path: Path) -> None:
    assert find_power_sensor(tmp_path) is None
    assert find_power_sensor(tmp_path / "nowhere") is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads what is forbidden to others")
@pytest.mark.parametrize("forbidden", ["energy_uj", "name", "max_energy_range_uj"])
def test_a_counter_that_may_not_be_read_is_no_sensor(tmp_path: Path, forbidden: str) -> None:
    (rapl(tmp_path) / forbidden).chmod(0)
    assert find_power_sensor(tmp_path) is None


def test_a_sensor_that_cannot_be_read_leaves_the_next_one(tmp_path: Path) -> None:
    (hwmon(tmp_path, ORIN_NANO) / "curr1_input").unlink()
    rapl(tmp_path)
    assert found(tmp_path).source == "rapl:package-0"


def test_a_sensor_that_vanishes_raises(tmp_path: Path) -> None:
    folder = hwmon(tmp_path, ORIN_NANO)
    sensor = found(tmp_path)
    shutil.rmtree(folder)
    with pytest.raises(OSError, match=r"curr1_input|in1_input"):
        sensor.read_mw()


def test_a_pcs_counter_gives_power_and_wraps_around(tmp_path: Path) -> None:
    zone = rapl(tmp_path, energy_uj=900_000)
    sensor = found(tmp_path)
    assert (sensor.source, sensor.sees_gpu) == ("rapl:package-0", False)
    (zone / "energy_uj").write_text("950000\n")
    assert sensor.read_mw() == pytest.approx(100)  # 50 mJ in half a second
    (zone / "energy_uj").write_text("20000\n")
    assert sensor.read_mw() == pytest.approx(140)  # 70 mJ over the end of the range


def test_packages_are_added_up_and_their_parts_are_not(tmp_path: Path) -> None:
    zones = [rapl(tmp_path), rapl(tmp_path, "intel-rapl:1", "package-1")]
    zones += [rapl(tmp_path, "intel-rapl:0:0", "core"), rapl(tmp_path, "intel-rapl:2", "psys")]
    zones += [rapl(tmp_path, "intel-rapl-mmio:0", "package-0")]
    sensor = found(tmp_path)
    sensor.read_mw()
    for zone in zones:
        (zone / "energy_uj").write_text("50000\n")
    assert sensor.source == "rapl:package-0+package-1"
    # Each counter looks at the clock once a reading: a second goes by for either.
    assert sensor.read_mw() == pytest.approx(50 + 50)
