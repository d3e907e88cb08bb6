"""A PC's NVIDIA card through NVML: what the driver lacks is absent, and throttling has its bits."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest

from edge_s4op.profiler.telemetry.nvml import open_card


class Library:
    """NVML's functions by name, each giving a number by its last argument; `missing` are refused."""

    def __init__(self, reasons: int = 0, missing: str = "") -> None:
        self._reasons, self._missing = reasons, missing

    def __getattr__(self, name: str) -> Any:
        if self._missing and self._missing in name:
            raise AttributeError(name)
        values = {"ClockInfo": 1410, "Temperature": 55, "PowerUsage": 61_500, "Reasons": self._reasons}
        value = next((number for part, number in values.items() if part in name), None)

        def function(*arguments: Any) -> int:
            if name.startswith("nvmlDeviceGetComputeRunningProcesses"):
                arguments[1]._obj.value, arguments[2][0].pid = 1, 4711
            elif value is not None:
                arguments[-1]._obj.value = value
            return 0

        return function


def readings(library: Library) -> dict[str, float | None]:
    card = open_card(lambda: library)
    assert card is not None
    return {sensor.name: sensor.read() for sensor in card.sensors}


def test_a_card() -> None:
    assert readings(Library()) == {
        "clock gpu": 1410,
        "temperature gpu": 55,
        "power gpu": 61.5,
        "throttle gpu state": 0,
    }
    card = open_card(Library)
    assert card is not None
    assert card.processes() == {4711}


@pytest.mark.parametrize(("reasons", "slowed"), [(0x1, False), (0x2, False), (0x40, True), (0x4, True)])
def test_only_some_reasons_are_throttling(reasons: int, slowed: bool) -> None:
    assert bool(readings(Library(reasons))["throttle gpu state"]) is slowed


def test_what_the_driver_lacks_is_absent() -> None:
    assert "power gpu" not in readings(Library(missing="PowerUsage"))
    assert open_card(lambda: Library(missing="nvmlInit")) is None
    assert open_card(lambda: ctypes.CDLL("libno-such-library.so.1")) is None
