"""What the board did while latencies were taken: one thread reads all sensors 20 times a second."""

from __future__ import annotations

import bisect
import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping

from edge_s4op.messages import Disturbance, Energy, SensorSummary, Telemetry
from edge_s4op.profiler.energy import IDLE_S, SAMPLE_EVERY_S, PowerLog
from edge_s4op.profiler.telemetry.board import Board
from edge_s4op.profiler.telemetry.cooldown import cool_down
from edge_s4op.profiler.telemetry.disturbance import (
    clock_changes,
    cpu_disturbances,
    gpu_disturbances,
    throttling,
)
from edge_s4op.profiler.telemetry.load import CpuTimes, read_cpu_times

__all__ = ["TelemetryRecorder"]

_NS_PER_S = 1_000_000_000


class TelemetryRecorder:
    """Watches a board through measurement after measurement: cool_down, idle, sampling, then the results.

    Without a sensor nothing is waited for and no thread exists; the processors' load is known all the same.
    A recorder that lives as long as the agent knows how cool the board gets when idle. `clock` counts ns and
    must be the one whose times `at` is asked for; `sleep` takes seconds.
    """

    def __init__(
        self,
        board: Board,
        clock: Callable[[], int] = time.perf_counter_ns,
        sleep: Callable[[float], None] = time.sleep,
        cpu_times: Callable[[], CpuTimes | None] | None = None,
    ) -> None:
        self._board, self._clock, self._sleep = board, clock, sleep
        self._cpu_times = cpu_times or (lambda: read_cpu_times(board.root))
        self._coolest: dict[str, float] = {}
        self._start(on_gpu=False)

    def _start(self, on_gpu: bool) -> None:
        power = self._board.power
        self._on_gpu = on_gpu
        self._power = PowerLog(power if power is not None and (power.sees_gpu or not on_gpu) else None)
        self._idle: list[dict[str, float]] = []
        self._times_ns: list[int] = []
        self._readings: list[dict[str, float]] = []
        self._before: dict[str, float] = {}
        self._failed: set[str] = set()
        self._cpu: tuple[CpuTimes | None, CpuTimes | None] = (None, None)
        self._others = 0

    def cool_down(self, max_ms: float, should_stop: Callable[[], bool] = lambda: False) -> float:
        """Wait until the board is as cool as it was at its coolest when idle; the time waited, ms.

        Raises MeasurementError("cancelled") when `should_stop`.
        """
        waited_ms = cool_down(self._board, self._coolest, max_ms, should_stop, self._sleep, self._clock)
        if waited_ms >= max_ms > 0:
            self._coolest = {}  # the room got warmer: what `idle` finds now is the level to come back to
        return waited_ms

    def idle(self, on_gpu: bool = False) -> None:
        """Note what the idle board does, before anything runs on its CPU or, `on_gpu`, its GPU.

        It takes 0.3 s where there is a power sensor, and else no time.
        """
        self._start(on_gpu)
        self._power.begin(self._now_s())
        for _ in range(round(IDLE_S / SAMPLE_EVERY_S) if self._power.works else 0):
            self._sleep(SAMPLE_EVERY_S)
            self._idle.append(self._board.read())
            self._power.take_idle(self._now_s())
        self._idle = self._idle or [self._board.read()]
        self._coolest |= {name: min(self._coolest.get(name, v), v) for name, v in self._idle[-1].items()}

    @contextlib.contextmanager
    def sampling(self) -> Iterator[None]:
        """Watch while the body runs."""
        self._before = self._board.read()
        self._power.begin(self._now_s())
        before = self._cpu_times()
        try:
            with self._thread():
                yield
        finally:
            self._cpu = before, self._cpu_times()
            self._others = self._other_gpu_users() if self._on_gpu else 0

    @contextlib.contextmanager
    def _thread(self) -> Iterator[None]:
        if not self._board.sensors and not self._power.works:
            yield
            return
        ended = threading.Event()
        thread = threading.Thread(target=self._watch, args=(ended,), name="telemetry", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _watch(self, ended: threading.Event) -> None:
        while not ended.wait(SAMPLE_EVERY_S):
            reading = self._board.read(self._failed)
            self._times_ns.append(self._clock())
            self._readings.append(reading)
            self._power.take_busy(self._now_s())

    def _now_s(self) -> float:
        return self._clock() / _NS_PER_S

    def _other_gpu_users(self) -> int:
        """Processes beside ours. In a container NVML may know ours by another number: one of them is it."""
        users = self._board.gpu_processes()
        return len(users - {os.getpid()}) - (os.getpid() not in users) if users else 0

    def at(self, time_ns: int) -> str | None:
        """The board nearest to a time of `clock`: "GPU 624 MHz, 61.5 °C, 7.9 W"; None: not known."""
        if not self._readings:
            return None
        after = min(bisect.bisect(self._times_ns, time_ns), len(self._readings) - 1)
        nearest = min((max(after - 1, 0), after), key=lambda i: abs(self._times_ns[i] - time_ns))
        return self._sentence(self._readings[nearest])

    def _sentence(self, reading: Mapping[str, float]) -> str | None:
        part = "gpu" if self._on_gpu else "cpu"
        clock = reading.get(f"clock {part}")
        hottest = max((v for n, v in reading.items() if n.startswith("temperature ")), default=None)
        watts = max((v for n, v in reading.items() if n.startswith("power ")), default=None)
        parts = [f"{part.upper()} {clock:.0f} MHz"] if clock is not None else []
        parts += [f"{hottest:.1f} °C"] if hottest is not None else []
        parts += [f"{watts:.1f} W"] if watts is not None else []
        return ", ".join(parts) or None

    def summary(self) -> Telemetry | None:
        """Each sensor that could be read throughout; None without one."""
        units = {n: u for n, u in self._board.units().items() if not n.startswith("throttle ")}
        values = {n: [r[n] for r in self._readings if n in r] for n in units if n not in self._failed}
        sensors = tuple(_summary(name, units[name], found) for name, found in values.items() if found)
        if not sensors:
            return None
        count, times_ns = len(self._readings), self._times_ns
        period_ms = (times_ns[-1] - times_ns[0]) / max(count - 1, 1) / 1e6 or SAMPLE_EVERY_S * 1000
        return Telemetry(period_ms=period_ms, readings=count, sensors=sensors)

    def disturbances(self) -> tuple[Disturbance, ...]:
        """What beside the model changed the latencies; empty: nothing that can be seen here."""
        clocks = ("clock gpu", "clock emc") if self._on_gpu else ("clock cpu", "clock emc")
        return (
            *throttling(self._before, self._readings, self._board.trips),
            *clock_changes(self._readings, clocks),
            *cpu_disturbances(*self._cpu),
            *(gpu_disturbances(self._idle, self._others) if self._on_gpu else ()),
        )

    def energy(self, duration_s: float, inferences: int) -> Energy | None:
        """Energy of one of `inferences` that ran for `duration_s`; None if it is not known."""
        return self._power.energy(duration_s, inferences)


def _summary(name: str, unit: str, values: list[float]) -> SensorSummary:
    mean = sum(values) / len(values)
    return SensorSummary(
        name=name, unit=unit, minimum=min(values), mean=mean, maximum=max(values), readings=len(values)
    )
