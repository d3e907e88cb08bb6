"""Everything that can be read of this board, found once and read many times."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from edge_s4op.profiler.power import PowerSensor, find_power_sensor, find_rails
from edge_s4op.profiler.telemetry.clocks import find_clocks, find_gpu_load
from edge_s4op.profiler.telemetry.nvml import Card, open_card
from edge_s4op.profiler.telemetry.sensors import Sensor
from edge_s4op.profiler.telemetry.thermal import find_fans, find_temperatures, find_throttling, find_trips

__all__ = ["Board", "find_board"]


@dataclass(frozen=True)
class Board:
    """Sensors; `power` is what the module or processor draws, from which energy is computed.

    `trips`: {name of a temperature sensor: where the kernel slows the board down, C}. `gpu_processes`: ids of
    the processes that use the GPU; None where that cannot be known. `root` has /proc/stat.
    """

    sensors: tuple[Sensor, ...] = ()
    power: PowerSensor | None = None
    trips: dict[str, float] = field(default_factory=dict)
    gpu_processes: Callable[[], set[int] | None] = lambda: None
    root: Path = Path("/")

    def read(self, failed: set[str] | None = None) -> dict[str, float]:
        """{"temperature gpu": 61.5, "clock cpu": 1510.4, "power VDD_IN": 7.9, ...} now, in each one's unit.

        What cannot be read is absent; names of sensors that failed are added to `failed`.
        """
        found: dict[str, float] = {}
        for sensor in self.sensors:
            try:
                value = sensor.read()
            except (OSError, ValueError):
                if failed is not None:
                    failed.add(sensor.name)
                continue
            if value is not None and math.isfinite(value):
                found[sensor.name] = value
        return found

    def units(self) -> dict[str, str]:
        return {sensor.name: sensor.unit for sensor in self.sensors}


def find_board(root: Path = Path("/"), card: Callable[[], Card | None] | None = None) -> Board:
    """This board, with whatever may be read of it. `card` opens an NVIDIA card beside a PC's processor."""
    root = Path(root)
    clocks, loads = find_clocks(root), find_gpu_load(root)
    has_own_gpu = any(sensor.name == "clock gpu" for sensor in clocks) or bool(loads)
    opened = None if has_own_gpu else (card or _card_of(root))()
    sensors = (
        *clocks,
        *find_temperatures(root),
        *_rails(root),
        *loads,
        *find_fans(root),
        *find_throttling(root),
        *(opened.sensors if opened else ()),
    )
    processes = opened.processes if opened else lambda: None
    return Board(sensors, find_power_sensor(root / "sys"), find_trips(root), processes, root)


def _card_of(root: Path) -> Callable[[], Card | None]:
    """NVML is loaded only for this machine itself, and only where the driver says there is a card."""
    is_there = root == Path("/") and os.path.isdir("/proc/driver/nvidia/gpus")
    return open_card if is_there else lambda: None


def _rails(root: Path) -> tuple[Sensor, ...]:
    return tuple(
        Sensor("power", label, "W", _watts(read)) for label, read in find_rails(root / "sys").items()
    )


def _watts(read_mw: Callable[[], float | None]) -> Callable[[], float | None]:
    def read() -> float | None:
        power_mw = read_mw()
        return None if power_mw is None else power_mw / 1000

    return read
