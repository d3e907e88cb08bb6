"""An NVIDIA card of a PC, through the driver's own library: NVML. It opens no CUDA context.

Function names, structures and bits are those of nvml.h. Every function that the driver or card lacks gives a
sensor that is absent. The card is number 0, or the first of CUDA_VISIBLE_DEVICES, which names cards by number
or by the beginning of their UUID (CUDA C++ Programming Guide, "CUDA Environment Variables"). Where CUDA would
see none, there is none here, either: other sensors would be taken for those of the card that computes.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from edge_s4op.profiler.telemetry.sensors import Quantity, Sensor

__all__ = ["Card", "open_card"]

# Software power cap, hardware slowdown, thermal slowdown by software and hardware, power brake. Idle, and
# clocks that somebody set, are reasons too, and no throttling.
_SLOWING = 0x04 | 0x08 | 0x20 | 0x40 | 0x80
_SM_CLOCK, _GPU_TEMPERATURE = 1, 0
_MOST_PROCESSES = 64
_UUID_BYTES = 96  # NVML_DEVICE_UUID_V2_BUFFER_SIZE
_UUID_PREFIX = "gpu-"  # "MIG-..." names a part of a card, which has no sensors of its own


class _Process(ctypes.Structure):
    _fields_ = (
        ("pid", ctypes.c_uint),
        ("used_bytes", ctypes.c_ulonglong),
        ("gpu_instance", ctypes.c_uint),
        ("compute_instance", ctypes.c_uint),
    )


@dataclass(frozen=True)
class Card:
    """Its sensors, and the processes that compute on it (None: not known)."""

    sensors: tuple[Sensor, ...]
    processes: Callable[[], set[int] | None]


def _driver_library() -> Any:
    return ctypes.CDLL("libnvidia-ml.so.1")


def open_card(load: Callable[[], Any] = _driver_library) -> Card | None:
    """The card; None without library, driver or card, and where CUDA_VISIBLE_DEVICES names none."""
    try:
        library = load()
        _call(library, "nvmlInit_v2")
        device = _first_visible(library)
    except OSError:
        return None
    sensors = (
        _sensor("clock", "gpu", "MHz", 1.0, library, "nvmlDeviceGetClockInfo", device, _SM_CLOCK),
        _sensor(
            "temperature", "gpu", "°C", 1.0, library, "nvmlDeviceGetTemperature", device, _GPU_TEMPERATURE
        ),
        _sensor("power", "gpu", "W", 1e-3, library, "nvmlDeviceGetPowerUsage", device),
        Sensor("throttle", "gpu state", "", lambda: _slowing(library, device)),
    )
    return Card(tuple(sensor for sensor in sensors if _can_be_read(sensor)), lambda: _pids(library, device))


def _first_visible(library: Any) -> ctypes.c_void_p:
    """The card that CUDA sees first. Raises OSError when it sees none."""
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0].strip()
    if first.isascii() and first.isdecimal():
        return _numbered(library, int(first))
    named = [device for device, uuid in _uuids(library) if uuid.startswith(first.lower())]
    if not first.lower().startswith(_UUID_PREFIX) or len(named) != 1:
        raise OSError(f"CUDA_VISIBLE_DEVICES: {first!r} is no card, or one of several")
    return named[0]


def _uuids(library: Any) -> Iterator[tuple[ctypes.c_void_p, str]]:
    """Each card with its UUID, in lower case; without those that do not answer."""
    count = ctypes.c_uint()
    _call(library, "nvmlDeviceGetCount_v2", ctypes.byref(count))
    for number in range(count.value):
        text = ctypes.create_string_buffer(_UUID_BYTES)
        with contextlib.suppress(OSError):
            device = _numbered(library, number)
            _call(library, "nvmlDeviceGetUUID", device, text, ctypes.c_uint(_UUID_BYTES))
            yield device, text.value.decode(errors="replace").lower()


def _numbered(library: Any, number: int) -> ctypes.c_void_p:
    device = ctypes.c_void_p()
    _call(library, "nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(number), ctypes.byref(device))
    return device


def _call(library: Any, name: str, *arguments: object) -> None:
    function = getattr(library, name, None)
    status = None if function is None else function(*arguments)
    if status != 0:
        raise OSError(f"{name} is missing" if status is None else f"{name} failed with status {status}")


def _sensor(
    quantity: Quantity, what: str, unit: str, scale: float, library: Any, name: str, *arguments: object
) -> Sensor:
    def read() -> float:
        value = ctypes.c_uint()
        _call(library, name, *arguments, ctypes.byref(value))
        return value.value * scale

    return Sensor(quantity, what, unit, read)


def _slowing(library: Any, device: ctypes.c_void_p) -> float:
    reasons = ctypes.c_ulonglong()
    _call(library, "nvmlDeviceGetCurrentClocksThrottleReasons", device, ctypes.byref(reasons))
    return float(reasons.value & _SLOWING)


def _pids(library: Any, device: ctypes.c_void_p) -> set[int] | None:
    count, processes = ctypes.c_uint(_MOST_PROCESSES), (_Process * _MOST_PROCESSES)()
    try:
        _call(library, "nvmlDeviceGetComputeRunningProcesses_v3", device, ctypes.byref(count), processes)
    except OSError:
        return None
    return {process.pid for process in processes[: count.value]}


def _can_be_read(sensor: Sensor) -> bool:
    try:
        sensor.read()
    except OSError:
        return False
    return True
