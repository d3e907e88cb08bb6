"""What the board did while latencies were taken: one thread reads all sensors 20 times a second."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from edge_s4op.messages import Disturbance, Energy, Telemetry
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
from edge_s4op.profiler.telemetry.recording import Recording

__all__ = ["TelemetryRecorder"]

_NS_PER_S = 1_000_000_000
_SETTLING_SHARE = 0.2  # of the readings: clocks may still follow the load
_log = logging.getLogger("edge_s4op.telemetry")


class TelemetryRecorder:
    """Watches a board through measurement after measurement: cool_down, idle, sampling, then the results.

    Without a sensor nothing is waited for and no thread exists; the processors' load is known all the same.
    A recorder that lives as long as the agent knows how cool the board gets when idle. `clock` counts ns and
    must be the one whose times `at` is asked for; `sleep` takes seconds. `root`
    has /proc; None: the board's.

    Making one reads nothing. One measurement at a time uses it; `at`, `summary` and the others may be asked
    from any thread, also while it samples. This process's own processor time, that of an agent's HTTP too, is
    no disturbance.
    """

    def __init__(
        self,
        board: Board,
        *,
        root: Path | None = None,
        clock: Callable[[], int] = time.perf_counter_ns,
        sleep: Callable[[float], None] = time.sleep,
        cpu_times: Callable[[], CpuTimes | None] | None = None,
    ) -> None:
        self._board, self._clock, self._sleep = board, clock, sleep
        self._cpu_times = cpu_times or (lambda: read_cpu_times(root or board.root))
        self._coolest: dict[str, float] = {}
        self._on_gpu = False
        self._power, self._idle = PowerLog(None), list[dict[str, float]]()
        self._recording = Recording(board.units())
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
        power, self._on_gpu, self._idle = self._board.power, on_gpu, []
        self._power = PowerLog(power if power is not None and (power.sees_gpu or not on_gpu) else None)
        self._power.begin(self._now_s())
        for _ in range(round(IDLE_S / SAMPLE_EVERY_S) if self._power.works else 0):
            self._sleep(SAMPLE_EVERY_S)
            self._idle.append(self._board.read())
            self._power.take_idle(self._now_s())
        self._idle = self._idle or [self._board.read()]
        self._coolest |= {name: min(self._coolest.get(name, v), v) for name, v in self._idle[-1].items()}

    @contextlib.contextmanager
    def sampling(self) -> Iterator[None]:
        """Watch while the body runs; what the last such window saw is forgotten.

        A sensor that fails is left out. Another error of one is raised at the end, or logged if the body
        failed.
        """
        units = {self._power_name(): "W", **self._board.units()}
        self._recording, self._power, self._others = Recording(units), self._power.anew(), 0
        board = self._take(self._board, self._power.begin)
        before = self._cpu_times()
        try:
            with self._thread(board):
                yield
        finally:
            self._cpu = before, self._cpu_times()
            self._others = self._other_gpu_users() if self._on_gpu else 0

    @contextlib.contextmanager
    def _thread(self, board: Board) -> Iterator[None]:
        if not board.sensors and not self._power.works:
            yield
            return
        ended, failures = threading.Event(), list[BaseException]()
        arguments = (board, ended, failures)
        thread = threading.Thread(target=self._watch, args=arguments, name="telemetry", daemon=True)
        thread.start()
        try:
            yield
        except BaseException:
            _end(ended, thread)
            for failure in failures:
                _log.error("a sensor failed as none may", exc_info=failure)
            raise
        _end(ended, thread)
        if failures:
            raise failures[0]

    def _watch(self, board: Board, ended: threading.Event, failures: list[BaseException]) -> None:
        try:
            while not ended.wait(SAMPLE_EVERY_S):
                board = self._take(board, self._power.take_busy)
        except BaseException as error:  # raised where sampling ends
            failures.append(error)

    def _take(self, board: Board, power: Callable[[float], float | None]) -> Board:
        """Note one reading of everything; the board without sensors that failed."""
        now_ns, failed, had_power = self._clock(), set[str](), self._power.works
        reading, power_mw = board.read(failed), power(now_ns / _NS_PER_S)
        if had_power and not self._power.works:
            failed.add(self._power_name())
        if power_mw is not None:
            reading.setdefault(self._power_name(), power_mw / 1000)
        self._recording.add(now_ns, reading, failed)
        return replace(board, sensors=tuple(s for s in board.sensors if s.name not in failed))

    def _power_name(self) -> str:
        """Of the power that energy comes from; a single rail is a sensor of that name already."""
        return f"power {self._board.power.source.rpartition(':')[2]}" if self._board.power else "power"

    def _now_s(self) -> float:
        return self._clock() / _NS_PER_S

    def _other_gpu_users(self) -> int:
        """Processes beside ours. In a container NVML may know ours by another number: one of them is it."""
        users = self._board.gpu_processes()
        return len(users - {os.getpid()}) - (os.getpid() not in users) if users else 0

    def at(self, time_ns: int) -> str | None:
        """The board nearest to a time of `clock`: "GPU 624 MHz, 61.5 °C, 7.9 W"; None: not known."""
        reading = self._recording.at(time_ns)
        return self._sentence(reading) if reading else None

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
        """Each sensor that did not fail; None without one."""
        return self._recording.summary()

    def disturbances(self) -> tuple[Disturbance, ...]:
        """What beside the model changed the latencies; empty: nothing that can be seen here."""
        clocks = ("clock gpu", "clock emc") if self._on_gpu else ("clock cpu", "clock emc")
        readings = self._recording.readings()
        before = readings[0] if readings else {}
        return (
            *throttling(before, readings, self._board.trips),
            *clock_changes(readings[int(len(readings) * _SETTLING_SHARE) :], clocks),
            *cpu_disturbances(*self._cpu),
            *(gpu_disturbances(self._idle, self._others) if self._on_gpu else ()),
        )

    def energy(self, duration_s: float, inferences: int) -> Energy | None:
        """Energy of one of `inferences` that ran for `duration_s`; None if it is not known."""
        return self._power.energy(duration_s, inferences)


def _end(ended: threading.Event, thread: threading.Thread) -> None:
    ended.set()
    thread.join()
