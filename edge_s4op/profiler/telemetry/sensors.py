"""One number of the board, read again and again from a file of Linux that stays open."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

__all__ = ["Quantity", "Sensor", "file_sensor", "number_in", "text_of", "usable_cores"]

Quantity = Literal["temperature", "clock", "power", "load", "fan", "throttle"]

# What lies outside is not a reading: an offline zone says -256 C, a powered-off clock 0.
_PLAUSIBLE: dict[Quantity, tuple[float, float]] = {
    "temperature": (-40, 150),
    "clock": (1, 20_000),
    "power": (0, 10_000),
    "load": (0, 100),
    "fan": (0, 100_000),
    "throttle": (0, 2**63),
}


@dataclass(frozen=True)
class Sensor:
    """What it is, its unit, and a function that reads it: None where there is no value just now.

    `read` raises OSError or ValueError when the sensor cannot be read. "throttle" sensors are counters or
    states that mean slowing down; they have no unit.
    """

    quantity: Quantity
    what: str
    unit: str
    read: Callable[[], float | None]

    @property
    def name(self) -> str:
        return f"{self.quantity} {self.what}"


class _OpenFile:
    """The number in a file, times `scale`. Reading through an open file takes some microseconds."""

    def __init__(self, path: Path) -> None:
        self._path, self._file = path, os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._file)

    def __call__(self) -> float | None:
        if os.fstat(self._file).st_nlink == 0:
            raise FileNotFoundError(f"{self._path} is gone")
        try:
            return float(os.pread(self._file, 64, 0).decode("ascii"))
        except BlockingIOError:  # a zone whose part of the chip is switched off: no value now
            return None


def file_sensor(quantity: Quantity, what: str, unit: str, path: Path, scale: float = 1.0) -> Iterator[Sensor]:
    """The sensor of `path`; none where that file is missing, forbidden, or no number."""
    low, high = _PLAUSIBLE[quantity]
    try:
        number = _OpenFile(path)
        number()
    except (OSError, ValueError):
        return

    def read() -> float | None:
        value = number()
        return value * scale if value is not None and low <= value * scale <= high else None

    yield Sensor(quantity, what, unit, read)


def text_of(path: Path) -> str:
    """A small file's text; empty when it cannot be read."""
    try:
        return path.read_bytes().decode("utf-8", errors="replace").strip("\0 \t\r\n")
    except OSError:
        return ""


def number_in(path: Path) -> float | None:
    """A small file's number; None when it cannot be read or is none."""
    try:
        return float(text_of(path))
    except ValueError:
        return None


def usable_cores(root: Path) -> tuple[int, ...]:
    """Cores this process may run on: its affinity, less those a power mode has taken offline."""
    lines = (line.partition(":") for line in text_of(root / "proc/self/status").splitlines())
    fields = {key: value.strip() for key, _, value in lines}
    allowed = _cores_of_list(fields.get("Cpus_allowed_list", ""))
    online = _cores_of_list(text_of(root / "sys/devices/system/cpu/online"))
    known = allowed & online if allowed and online else allowed or online
    return tuple(sorted(known)) or tuple(range(os.cpu_count() or 1))


def _cores_of_list(text: str) -> set[int]:
    """{0, 1, 2, 5} from the kernel's "0-2,5"; empty when it is not such a list."""
    cores: set[int] = set()
    try:
        for part in text.split(",") if text else []:
            first, _, last = part.partition("-")
            cores.update(range(int(first), int(last or first) + 1))
    except ValueError:
        return set()
    return cores
