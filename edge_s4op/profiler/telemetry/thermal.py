"""Temperatures, their trip points, the fan, and what says that the board slows itself down.

Zones are named by their `type`, hwmon chips by their `name`: numbers change from boot to boot. On an Orin,
`soctherm_oc` counts events of under-voltage (oc1), average (oc2) and instantaneous over-current (oc3), and
cooling devices "cpu-throttle-alert", "cpufreq-cpu0", "devfreq-17000000.gpu" are above 0 while a part is
slowed down (Jetson Linux Developer Guide, "Platform Power and Performance").
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from edge_s4op.profiler.telemetry.sensors import Sensor, file_sensor, number_in, text_of, usable_cores

__all__ = ["find_fans", "find_temperatures", "find_throttling", "find_trips"]

# PMIC reports a constant 100 C, the fan's estimate is made of other zones.
_NO_TEMPERATURE = re.compile(r"pmic|fan-est|tboard|iwlwifi", re.IGNORECASE)
_ZONE_ENDING = re.compile(r"[-_](thermal|therm)$", re.IGNORECASE)
_CPU_CHIPS = ("coretemp", "k10temp", "zenpower")
_CPU_LABELS = re.compile(r"Package id \d+|Tctl|Tdie")
# A fan that turns is no throttling; "hot-surface-alert" warns people.
_SLOWING = re.compile(r"cpufreq|devfreq|throttle|balanced|^Processor$|powerclamp|emergency", re.IGNORECASE)
_OC_CAUSES = {"oc1": "under-voltage", "oc2": "average over-current", "oc3": "instantaneous over-current"}


def find_temperatures(root: Path) -> tuple[Sensor, ...]:
    """Thermal zones by type and processors' own sensors by label, degrees C; the first of each name."""
    found: dict[str, Sensor] = {}
    for sensor in (*_zones(root), *_chips(root)):
        found.setdefault(sensor.name, sensor)
    return tuple(found.values())


def _zone_folders(root: Path) -> Iterator[tuple[str, Path]]:
    for folder in sorted((root / "sys/class/thermal").glob("thermal_zone*")):
        kind = text_of(folder / "type")
        if kind and not _NO_TEMPERATURE.search(kind):
            yield _ZONE_ENDING.sub("", kind).lower(), folder


def _zones(root: Path) -> Iterator[Sensor]:
    for what, folder in _zone_folders(root):
        yield from file_sensor("temperature", what, "°C", folder / "temp", 1e-3)


def _chips(root: Path) -> Iterator[Sensor]:
    for folder in sorted((root / "sys/class/hwmon").glob("hwmon*")):
        if text_of(folder / "name") not in _CPU_CHIPS:
            continue
        for label in sorted(folder.glob("temp*_label")):
            if _CPU_LABELS.fullmatch(what := text_of(label)):
                file = label.with_name(label.name.replace("_label", "_input"))
                yield from file_sensor("temperature", what.lower(), "°C", file, 1e-3)


def find_trips(root: Path) -> dict[str, float]:
    """{name of a temperature sensor: where the kernel begins to slow the board down, degrees C}."""
    trips: dict[str, float] = {}
    for what, folder in _zone_folders(root):
        for kind in sorted(folder.glob("trip_point_*_type")):
            value = number_in(kind.with_name(kind.name.replace("_type", "_temp")))
            # PCs leave points that nobody set at 0 or -273.
            if text_of(kind) == "passive" and value is not None and 60_000 <= value <= 130_000:
                name = f"temperature {what}"
                trips[name] = min(trips.get(name, value / 1000), value / 1000)
    return trips


def find_throttling(root: Path) -> tuple[Sensor, ...]:
    """States (above 0: slowed down) end with " state", counters (going up: slowed down) with " count"."""
    return (*_states(root), *_over_currents(root), *_core_counts(root))


def _states(root: Path) -> Iterator[Sensor]:
    for folder in sorted((root / "sys/class/thermal").glob("cooling_device*")):
        kind = text_of(folder / "type")
        if _SLOWING.search(kind):
            yield from file_sensor("throttle", f"{kind} {folder.name[14:]} state", "", folder / "cur_state")


def _over_currents(root: Path) -> Iterator[Sensor]:
    for file in sorted((root / "sys/class/hwmon").glob("hwmon*/oc*_event_cnt")):
        alarm = file.name.removesuffix("_event_cnt")
        cause = _OC_CAUSES.get(alarm, "over-current")
        yield from file_sensor("throttle", f"{cause} ({alarm}) count", "", file)


def _core_counts(root: Path) -> Iterator[Sensor]:
    for core in usable_cores(root):
        folder = root / f"sys/devices/system/cpu/cpu{core}/thermal_throttle"
        yield from file_sensor("throttle", f"core {core} count", "", folder / "core_throttle_count")
    for core in usable_cores(root)[:1]:
        folder = root / f"sys/devices/system/cpu/cpu{core}/thermal_throttle"
        yield from file_sensor("throttle", "package count", "", folder / "package_throttle_count")


def find_fans(root: Path) -> tuple[Sensor, ...]:
    """How fast the fan is told to turn, %, and turns, rpm: of a Jetson."""
    files = [
        (root / "sys/devices/pwm-fan/cur_pwm", "pwm"),
        (root / "sys/devices/pwm-fan/rpm_measured", "rpm"),
    ]
    for folder in sorted((root / "sys/class/hwmon").glob("hwmon*")):
        if re.search(r"fan|tach", text_of(folder / "name")):
            files += [(folder / "pwm1", "pwm"), (folder / "rpm", "rpm"), (folder / "fan1_input", "rpm")]
    found: dict[str, Sensor] = {}
    for file, kind in files:
        scale, unit = (100 / 255, "%") if kind == "pwm" else (1.0, "rpm")
        for sensor in file_sensor("fan", kind, unit, file, scale):
            found.setdefault(kind, sensor)
    return tuple(found.values())
