"""A PC's NVIDIA card through NVML: what the driver lacks is absent, and throttling has its bits."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import pytest

from edge_s4op.profiler.telemetry.nvml import open_card

CARDS = ("GPU-8932f937-d72c", "GPU-8932a000-0000", "GPU-0a1b2c3d-4e5f")
NO_PERMISSION, NOT_FOUND = 4, 6  # of nvmlReturn_t


class Library:
    """NVML's functions by name, each giving a number by its last argument; `missing` are refused.

    A card's handle is its number and 100; its temperature is 55 and its number. `silent` cards do not answer.
    """

    def __init__(
        self, reasons: int = 0, missing: str = "", cards: Sequence[str] = CARDS, silent: Sequence[int] = ()
    ) -> None:
        self._reasons, self._missing, self._cards, self._silent = reasons, missing, cards, silent

    def __getattr__(self, name: str) -> Any:
        if self._missing and self._missing in name:
            raise AttributeError(name)
        special = {
            "nvmlDeviceGetHandleByIndex_v2": self._handle,
            "nvmlDeviceGetUUID": self._uuid,
            "nvmlDeviceGetComputeRunningProcesses_v3": self._processes,
        }
        return special.get(name) or (lambda *arguments: self._number(name, *arguments))

    def _number(self, name: str, *arguments: Any) -> int:
        values = {
            "ClockInfo": 1410,
            "PowerUsage": 61_500,
            "Reasons": self._reasons,
            "Count": len(self._cards),
        }
        if "Temperature" in name:
            values["Temperature"] = 55 + arguments[0].value - 100
        for part, number in values.items():
            if part in name:
                arguments[-1]._obj.value = number
        return 0

    def _handle(self, number: ctypes.c_uint, device: Any) -> int:
        if number.value >= len(self._cards):
            return NOT_FOUND
        device._obj.value = 100 + number.value
        return NO_PERMISSION if number.value in self._silent else 0

    def _uuid(self, device: ctypes.c_void_p, text: Any, size: ctypes.c_uint) -> int:
        assert ctypes.sizeof(text) == size.value == 96
        text.value = self._cards[(device.value or 0) - 100].encode()
        return 0

    def _processes(self, device: ctypes.c_void_p, count: Any, processes: Any) -> int:
        count._obj.value, processes[0].pid = 1, 4711
        return 0


@pytest.fixture(autouse=True)
def _every_card_is_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


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


@pytest.mark.parametrize(
    ("visible", "number"),
    [
        ("0", 0),
        ("2", 2),
        (" 2 ,0", 2),
        ("2,GPU-8932f937", 2),
        ("GPU-8932f937-d72c", 0),
        ("GPU-8932f", 0),
        ("GPU-8932a,GPU-8932f", 1),
        ("GPU-0", 2),
        ("gpu-0A1B", 2),
    ],
)
def test_the_card_is_the_first_that_cuda_sees(
    monkeypatch: pytest.MonkeyPatch, visible: str, number: int
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert readings(Library())["temperature gpu"] == 55 + number


@pytest.mark.parametrize(
    "visible",
    [
        "",
        "-1",
        "-1,0",
        "3",
        "none",
        "\u00b2",  # a digit to str.isdigit, and no number
        "GPU-8932",  # two cards begin so
        "GPU-",
        "G",
        "GPU-8932f937-d72c-4106",  # longer than the card's own
        "GPU-ffff,0",
        "MIG-GPU-8932f937-d72c/1/0",
        "MIG-8932f937",
    ],
)
def test_where_cuda_sees_no_card_there_is_none(monkeypatch: pytest.MonkeyPatch, visible: str) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert open_card(Library) is None


def test_one_card_is_told_by_any_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-")
    assert readings(Library(cards=CARDS[:1]))["temperature gpu"] == 55
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "G")
    assert open_card(lambda: Library(cards=CARDS[:1])) is None


def test_a_card_that_does_not_answer_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-8932")
    assert readings(Library(silent=[0]))["temperature gpu"] == 56
    assert open_card(lambda: Library(silent=[0, 1])) is None
    assert open_card(lambda: Library(missing="UUID")) is None


@pytest.mark.parametrize(
    ("reasons", "slowed"),
    [
        (0x001, False),  # idle
        (0x002, False),  # clocks that an application set
        (0x010, False),  # sync boost
        (0x100, False),  # clocks of the display
        (0x004, True),  # power cap
        (0x008, True),  # hardware slowdown
        (0x020, True),  # thermal, by software
        (0x040, True),  # thermal, by hardware
        (0x080, True),  # power brake
        (0x105, True),
    ],
)
def test_only_some_reasons_are_throttling(reasons: int, slowed: bool) -> None:
    assert bool(readings(Library(reasons))["throttle gpu state"]) is slowed


def test_what_the_driver_lacks_is_absent() -> None:
    assert "power gpu" not in readings(Library(missing="PowerUsage"))
    assert open_card(lambda: Library(missing="nvmlInit")) is None
    assert open_card(lambda: ctypes.CDLL("libno-such-library.so.1")) is None
