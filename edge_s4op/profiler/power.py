"""Energy of an inference, where the board reports power: sampled beside a measurement, idle subtracted.

Two kinds of sensors are read, from sysfs alone:

    ina3221   Jetson boards: the rail that feeds the whole module (VDD_IN and its names on older boards),
              voltage times current, an instantaneous reading
    rapl      PCs: the package's energy counter, differences of which over time are power

A sensor that is not there, may not be read, or vanishes in the middle gives no energy: never a guess.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

from edge_s4op.messages import Energy, Interval

__all__ = ["PowerMeter", "PowerSensor", "find_power_sensor"]

SAMPLE_EVERY_S = 0.05
IDLE_S = 0.3
_INA3221 = ("bus/i2c/drivers/ina3221/*/hwmon/hwmon*", "bus/i2c/drivers/ina3221x/*/iio:device*")
_MODULE_RAILS = ("VDD_IN", "VIN_SYS_5V0", "POM_5V_IN")
_LEAST_SAMPLES = 3


@dataclass(frozen=True)
class PowerSensor:
    """One sensor: what it is, and its power now in mW; None before a first difference can be taken."""

    source: str
    read_mw: Callable[[], float | None]


def find_power_sensor(
    sys: Path = Path("/sys"), clock: Callable[[], float] = time.monotonic
) -> PowerSensor | None:
    """The sensor of what feeds the whole device; None where none can be read."""
    for sensor in (*_ina3221(sys), *_rapl(sys, clock)):
        try:
            sensor.read_mw()
        except (OSError, ValueError):
            continue
        return sensor
    return None


class PowerMeter:
    """Samples a sensor in a thread of its own between `start` and `stop`.

    Without a sensor both do nothing, and no thread exists. `idle` waits for IDLE_S and takes what the device
    draws before the work begins.
    """

    def __init__(self, sensor: PowerSensor | None, sleep: Callable[[float], None] = time.sleep) -> None:
        self._sensor, self._sleep = sensor, sleep
        self._idle_mw: list[float] = []
        self._busy_mw: list[float] = []
        self._lost = sensor is None
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def idle(self) -> None:
        """Take the idle power, before anything runs."""
        for _ in range(0 if self._lost else round(IDLE_S / SAMPLE_EVERY_S)):
            self._sleep(SAMPLE_EVERY_S)
            self._take(self._idle_mw)

    def start(self) -> None:
        """Begin to sample."""
        if not self._lost:
            self._thread = threading.Thread(target=self._watch, name="power", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End sampling; may be called twice."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def energy(self, duration_s: float, inferences: int) -> Energy | None:
        """What one inference took beyond idling, in `duration_s` of nothing but `inferences`.

        (mean power - idle power) duration / inferences. The 95 % interval takes the samples of both powers as
        independent: 1.96 sqrt(s_busy^2 / n_busy + s_idle^2 / n_idle). None without enough samples.
        """
        if self._lost or self._sensor is None or min(len(self._idle_mw), len(self._busy_mw)) < _LEAST_SAMPLES:
            return None
        idle_mw, mean_mw = fmean(self._idle_mw), fmean(self._busy_mw)
        margin = 1.96 * math.sqrt(_variance_of_mean(self._idle_mw) + _variance_of_mean(self._busy_mw))
        each = duration_s / inferences  # mW s = mJ
        net_mw = mean_mw - idle_mw
        return Energy(
            source=self._sensor.source,
            energy_mj=net_mw * each,
            interval=Interval(low=(net_mw - margin) * each, high=(net_mw + margin) * each),
            total_mj=mean_mw * each,
            idle_mw=idle_mw,
            mean_mw=mean_mw,
            samples=len(self._busy_mw),
        )

    def _watch(self) -> None:
        while not self._ended.wait(SAMPLE_EVERY_S):
            self._take(self._busy_mw)

    def _take(self, into: list[float]) -> None:
        if self._lost or self._sensor is None:
            return
        try:
            power_mw = self._sensor.read_mw()
        except (OSError, ValueError):
            self._lost = True  # what was sampled before would stand for a time it does not cover
            return
        if power_mw is not None:
            into.append(power_mw)


def _variance_of_mean(values: Sequence[float]) -> float:
    return stdev(values) ** 2 / len(values)


def _ina3221(sys: Path) -> list[PowerSensor]:
    """Rails of every INA3221, those that feed the whole module first; hwmon since JetPack 5, iio before."""
    rails: dict[str, PowerSensor] = {}
    for folder in (path for pattern in _INA3221 for path in sorted(sys.glob(pattern))):
        for label_file in (*sorted(folder.glob("in*_label")), *sorted(folder.glob("rail_name_*"))):
            try:
                label = label_file.read_text().strip()
            except OSError:
                continue
            rails.setdefault(label, PowerSensor(f"ina3221:{label}", _rail_reader(label_file)))
    return [rails[name] for name in _MODULE_RAILS if name in rails]


def _rail_reader(label_file: Path) -> Callable[[], float]:
    folder, name = label_file.parent, label_file.name
    if name.startswith("rail_name_"):
        power = folder / f"in_power{name.removeprefix('rail_name_')}_input"
        return lambda: float(power.read_text())  # mW
    number = name.removeprefix("in").removesuffix("_label")
    volts, amperes = folder / f"in{number}_input", folder / f"curr{number}_input"
    return lambda: float(volts.read_text()) * float(amperes.read_text()) / 1000  # mV mA = uW


def _rapl(sys: Path, clock: Callable[[], float]) -> list[PowerSensor]:
    """The first package's counter: a PC has one socket, and more would have to be added up."""
    zones = sorted(sys.glob("class/powercap/intel-rapl:0"))
    return [PowerSensor(f"rapl:{zone.name}", _Counter(zone, clock)) for zone in zones]


class _Counter:
    """Power from an energy counter in uJ that wraps around; None at the first reading."""

    def __init__(self, zone: Path, clock: Callable[[], float]) -> None:
        self._zone, self._clock = zone, clock
        self._last: tuple[float, int] | None = None

    def __call__(self) -> float | None:
        now, energy_uj = self._clock(), int((self._zone / "energy_uj").read_text())
        last, self._last = self._last, (now, energy_uj)
        if last is None or now <= last[0]:
            return None
        used_uj = energy_uj - last[1]
        if used_uj < 0:
            used_uj += int((self._zone / "max_energy_range_uj").read_text())
        return used_uj / (now - last[0]) / 1000
