"""Watching the board before and during measurements: cooling down, sensors, energy, what disturbed."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_s4op.messages import Disturbance, Energy, Telemetry
from edge_s4op.profiler.energy import Reading, energy_of
from edge_s4op.profiler.power import PowerSensor
from edge_s4op.profiler.telemetry.board import Board, Counter
from edge_s4op.profiler.telemetry.cooldown import CoolDown
from edge_s4op.profiler.telemetry.disturbance import (
    busiest_clocks,
    clock_changes,
    cpu_disturbances,
    gpu_load,
    throttling,
)
from edge_s4op.profiler.telemetry.load import CpuLoad, load_between, read_cpu_times
from edge_s4op.profiler.telemetry.recording import PERIOD_S, Recording, Shown

__all__ = ["IDLE_S", "TelemetryRecorder"]

IDLE_S = 0.3
_LEAST_READINGS = 3
_NS_PER_S = 1_000_000_000
_CPU_CLOCK = re.compile(r"clock cpu\d*")


@dataclass(frozen=True)
class _Window:
    """One stretch of sampling: its readings, and what was known at its two ends."""

    recording: Recording
    risen: dict[str, int]
    load: CpuLoad | None
    gpu_users: tuple[str, ...]
    on_gpu: bool | None


class TelemetryRecorder:
    """Lives as long as the agent; each `sampling` starts anew and replaces what the one before saw.

    Making one reads nothing. One measurement at a time uses it; `at`, `summary` and the others may be asked
    from any thread, also while it samples. `clock` counts nanoseconds, `sleep` takes seconds; `root` is where
    /proc is looked for.
    """

    def __init__(
        self,
        board: Board,
        *,
        root: Path = Path("/"),
        clock: Callable[[], int] = time.perf_counter_ns,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._board, self._root, self._clock, self._sleep = board, root, clock, sleep
        self._cooldown = CoolDown(board, clock, sleep)
        self._on_gpu: bool | None = None
        self._idle: tuple[Reading, ...] = ()
        self._window = _Window(Recording(board, clock), {}, None, (), None)

    def cool_down(self, max_ms: float, should_stop: Callable[[], bool]) -> float:
        """Wait for the board to be as cool and idle as it ever was; the time waited, ms.

        At most `max_ms`, and not at all without sensors. Raises MeasurementError when told to stop.
        """
        return self._cooldown.wait(max_ms, should_stop)

    def idle(self, on_gpu: bool) -> None:
        """Take what the device draws when idle, for IDLE_S, if energy can come of it.

        `on_gpu` is whether the model to come runs on a GPU. A sensor that does not see the GPU (RAPL) gives
        no energy then.
        """
        self._on_gpu, power = on_gpu, self._board.power
        has_energy = power is not None and (power.sees_gpu or not on_gpu)
        self._idle = self._idle_power(power) if power is not None and has_energy else ()

    @contextlib.contextmanager
    def sampling(self) -> Iterator[None]:
        """Watch while the body runs. An unforeseen error of a sensor is raised at the end."""
        recording = Recording(self._board, self._clock)
        self._window = _Window(recording, {}, None, (), self._on_gpu)
        users, counts = self._gpu_users(), _counts(self._board.counters)
        with recording.sampling():
            before, began = read_cpu_times(self._root), self._clock()
            try:
                yield
            finally:
                ended, after = self._clock(), read_cpu_times(self._root)
                load = load_between(before, after, (ended - began) / _NS_PER_S)
                risen = {name: n - counts[name] for name, n in _counts(self._board.counters).items() if name in counts}
                self._window = _Window(recording, risen, load, (*users, *self._gpu_users()), self._on_gpu)

    def at(self, time_ns: int) -> str | None:
        """What the board did at a time of `clock`, "GPU 624 MHz, 61.5 °C, 7.9 W"; None if that is unknown."""
        window = self._window
        shown = window.recording.shown_at(time_ns)
        return None if shown is None else _described(shown, window.on_gpu)

    def summary(self) -> Telemetry | None:
        """What the sensors showed; None without any."""
        return self._window.recording.summary()

    def energy(self, duration_s: float, inferences: int) -> Energy | None:
        """What one of `inferences` took that ran for `duration_s`; None if that is not known.

        It is not known without a sensor, with one that failed, or from fewer than three readings when idle
        or while they ran.
        """
        busy, power = self._window.recording.power_readings(), self._board.power
        if power is None or min(len(self._idle), len(busy)) < _LEAST_READINGS:
            return None
        return energy_of(power.source, self._idle, busy, duration_s / inferences)

    def disturbances(self) -> tuple[Disturbance, ...]:
        """What beside the model changed its latencies, as far as it can be seen."""
        window = self._window
        return (
            *throttling(window.risen, *window.recording.throttled()),
            *clock_changes(busiest_clocks(window.recording.clocks(), window.on_gpu)),
            *cpu_disturbances(window.load),
            *gpu_load(window.gpu_users if window.on_gpu is not False else ()),
        )

    def _idle_power(self, power: PowerSensor) -> tuple[Reading, ...]:
        """Readings of the idle device; none if the sensor fails. The first only begins their time."""
        readings = []
        try:
            power.read_mw()
            last_ns = self._clock()
            for _ in range(round(IDLE_S / PERIOD_S)):
                self._sleep(PERIOD_S)
                power_mw, now_ns = power.read_mw(), self._clock()
                if power_mw is not None:
                    readings.append(Reading(power_mw, (now_ns - last_ns) / _NS_PER_S))
                last_ns = now_ns
        except (OSError, ValueError):
            return ()
        return tuple(readings)

    def _gpu_users(self) -> tuple[str, ...]:
        try:
            return self._board.gpu_users() if self._board.gpu_users else ()
        except (OSError, ValueError):
            return ()


def _counts(counters: Sequence[Counter]) -> dict[str, int]:
    """Those that can be read."""
    counts = {}
    for counter in counters:
        try:
            counts[counter.name] = counter.read()
        except (OSError, ValueError):
            continue
    return counts


def _described(shown: Shown, on_gpu: bool | None) -> str | None:
    """A clock, the highest temperature, power, and what throttles; where none is known, three sensors."""
    parts = [*_clock_of(shown, on_gpu), *_temperature_of(shown), *_power_of(shown)]
    if not parts:
        parts = [f"{name} {value:g} {shown.units[name]}" for name, value in list(shown.values.items())[:3]]
    return ", ".join([*parts, *(f"throttled: {reason}" for reason in shown.reasons)]) or None


def _clock_of(shown: Shown, on_gpu: bool | None) -> list[str]:
    gpu = [value for name, value in shown.values.items() if name.startswith("clock gpu")]
    cores = [value for name, value in shown.values.items() if _CPU_CLOCK.fullmatch(name)]
    if gpu and on_gpu is not False:
        return [f"GPU {max(gpu):.0f} MHz"]
    return [f"CPU {max(cores):.0f} MHz"] if cores else []


def _temperature_of(shown: Shown) -> list[str]:
    values = [value for name, value in shown.values.items() if name.startswith("temperature")]
    return [f"{max(values):.1f} °C"] if values else []


def _power_of(shown: Shown) -> list[str]:
    return [] if shown.power_mw is None else [f"{shown.power_mw / 1000:.1f} W"]
