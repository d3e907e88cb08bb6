"""What the whole board, or a PC's processor, draws: from the sensors that Linux shows under /sys.

Two kinds are read, by their names alone, since numbers of buses and hwmon folders change from boot to boot:

    ina3221   Jetson boards: voltage times current of what feeds the module
    rapl      PCs, Intel and AMD: the packages' energy counters, whose differences over time are power
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PowerSensor", "find_power_sensor", "find_rails"]

# Rails that together feed the module, each set complete and without a rail that another one contains
# (Jetson Linux Developer Guide, "Platform Power and Performance"; energymon's JetsonPowerRails.md). The AGX
# modules have two supplies, so no single rail is the whole: VIN_SYS_5V0 and SYS5V have neither CPU nor GPU.
_MODULE_RAILS = (
    ("VDD_IN",),  # Orin Nano, Orin NX, Xavier NX, TX2, TX1
    ("POM_5V_IN",),  # Nano
    ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),  # AGX Orin; VDDQ_VDD2_1V8AO comes from the last
    ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"),  # AGX Xavier
)
# hwmon since JetPack 5, iio before.
_INA3221 = ("bus/i2c/drivers/ina3221/*/hwmon/hwmon*", "bus/i2c/drivers/ina3221x/*/iio:device*")
_ZONE = re.compile(r"intel-rapl:\d+")  # not intel-rapl:0:0, a part of :0; AMD's have the same name


@dataclass(frozen=True)
class PowerSensor:
    """One sensor: what it is, and a function that reads it.

    `read_mw` returns mW: now, or the mean since it was last read; None where that is not known yet. It raises
    OSError or ValueError when the sensor cannot be read. `sees_gpu` is whether a GPU's power is in it.
    """

    source: str
    read_mw: Callable[[], float | None]
    sees_gpu: bool = True


def find_power_sensor(
    sys: Path = Path("/sys"), clock: Callable[[], float] = time.monotonic
) -> PowerSensor | None:
    """The first sensor that can be read; None where there is none, or it may not be read.

    `sys` is where /sys is looked for; `clock` counts seconds.
    """
    for find in (_ina3221, lambda sys: _rapl(sys, clock)):
        try:
            for sensor in find(sys):
                if _can_be_read(sensor):
                    return sensor
        except (OSError, ValueError):
            continue
    return None


def find_rails(
    sys: Path = Path("/sys"), clock: Callable[[], float] = time.monotonic
) -> dict[str, Callable[[], float | None]]:
    """{label: function that reads mW} of every rail, and of every package of a PC's processor.

    Only those that can be read now; the functions raise OSError or ValueError when that changes.
    """
    rails: dict[str, Callable[[], float | None]] = dict(_all_rails(sys))
    with contextlib.suppress(OSError, ValueError):  # a package's name that may not be read
        rails |= {name: _Counter(zone, clock) for name, zone in _packages(sys).items()}
    return {label: read for label, read in rails.items() if label and _can_be_read(PowerSensor(label, read))}


def _can_be_read(sensor: PowerSensor) -> bool:
    try:
        sensor.read_mw()
    except (OSError, ValueError):
        return False
    return True


def _ina3221(sys: Path) -> Iterator[PowerSensor]:
    """What feeds the module, of every INA3221 on the board."""
    rails = dict(_all_rails(sys))
    for names in _MODULE_RAILS:
        if rails.keys() >= set(names):
            yield PowerSensor(f"ina3221:{'+'.join(names)}", _sum_of([rails[name] for name in names]))


def _all_rails(sys: Path) -> Iterator[tuple[str, Callable[[], float]]]:
    folders = [folder for pattern in _INA3221 for folder in sorted(sys.glob(pattern))]
    for folder in folders:
        yield from _rails_of(folder)


def _rails_of(folder: Path) -> Iterator[tuple[str, Callable[[], float]]]:
    """Label and power, mW, of each channel; one without a readable label is not connected."""
    for file in (*sorted(folder.glob("in[123]_label")), *sorted(folder.glob("rail_name_*"))):
        try:
            label = file.read_text().strip()
        except (OSError, ValueError):
            continue
        yield label, _iio_rail(file) if file.name.startswith("rail_name_") else _hwmon_rail(file)


def _hwmon_rail(label_file: Path) -> Callable[[], float]:
    number = label_file.name.removeprefix("in").removesuffix("_label")
    volts, amperes = (label_file.with_name(f"{kind}{number}_input") for kind in ("in", "curr"))
    return lambda: _integer(volts) * _integer(amperes) / 1000  # mV mA = uW


def _iio_rail(label_file: Path) -> Callable[[], float]:
    power = label_file.with_name(f"in_power{label_file.name.removeprefix('rail_name_')}_input")
    return lambda: float(_integer(power))  # mW


def _rapl(sys: Path, clock: Callable[[], float]) -> Iterator[PowerSensor]:
    """The counters of all packages, added up. What they leave out: memory, disks, a graphics card."""
    packages = _packages(sys)
    counters = [_Counter(zone, clock) for zone in packages.values()]
    if counters:
        yield PowerSensor(f"rapl:{'+'.join(packages)}", _sum_of(counters), sees_gpu=False)


def _packages(sys: Path) -> dict[str, Path]:
    zones = [zone for zone in sorted(sys.glob("class/powercap/*")) if _ZONE.fullmatch(zone.name)]
    named = {(zone / "name").read_text().strip(): zone for zone in zones}
    return {name: named[name] for name in sorted(named) if name.startswith("package")}  # a laptop has psys


class _Counter:
    """Mean power, mW, since the last reading of an energy counter in uJ that wraps around."""

    def __init__(self, zone: Path, clock: Callable[[], float]) -> None:
        self._zone, self._clock = zone, clock
        self._range_uj = 0
        self._last: tuple[float, int] | None = None

    def __call__(self) -> float | None:
        self._range_uj = self._range_uj or _integer(self._zone / "max_energy_range_uj")
        now, energy_uj = self._clock(), _integer(self._zone / "energy_uj")
        last, self._last = self._last, (now, energy_uj)
        if last is None or now <= last[0]:
            return None
        used_uj = energy_uj - last[1]
        if used_uj < 0:
            used_uj += self._range_uj
        return used_uj / (now - last[0]) / 1000


def _sum_of(readers: Sequence[Callable[[], float | None]]) -> Callable[[], float | None]:
    def read_mw() -> float | None:
        powers_mw = [read() for read in readers]  # all of them, also after a None: each keeps its last
        known_mw = [power for power in powers_mw if power is not None]
        return sum(known_mw) if len(known_mw) == len(readers) else None

    return read_mw


def _integer(path: Path) -> int:
    return int(path.read_text())
