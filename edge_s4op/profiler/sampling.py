"""Taking latencies: one after another, until their median is known well enough or time is up."""

from __future__ import annotations

import contextlib
import gc
import math
import statistics
import time
from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from edge_s4op.errors import MeasurementError
from edge_s4op.messages import MeasurementRequest
from edge_s4op.profiler.parts import PartLog
from edge_s4op.profiler.settling import Settling
from edge_s4op.profiler.statistics import Samples, is_precise
from edge_s4op.runtime.protocol import Array, Runner, TimedRunner

__all__ = [
    "CANCELLED",
    "Progress",
    "Sampled",
    "Stopwatch",
    "WarmUp",
    "check_points",
    "garbage_collector_paused",
    "sample",
    "warm_up",
]

CANCELLED = "cancelled"  # `what` of the MeasurementError that should_stop causes

NS_PER_MS = 1_000_000
_CHECK_GROWTH = 1.25
_PROGRESS_STEPS = 20  # a report may write to a database: rare, so that it disturbs few samples
_MAX_REPEATS = 10_000


@dataclass(frozen=True)
class Stopwatch:
    """Runs a model once and tells how long it took.

    With `transfers` the latency is the whole of `runner.run` on host arrays; without, the part on the device
    that is neither copying in nor copying out. `repeats` runs are timed together, the latency is their mean.
    """

    runner: Runner
    feeds: Mapping[str, Array]
    clock: Callable[[], int] = time.perf_counter_ns
    should_stop: Callable[[], bool] = lambda: False
    transfers: bool = True
    repeats: int = 1

    def __call__(self, when: str = "while sampling") -> tuple[float, int]:
        """Latency, ns, and the clock when it ended. Raises MeasurementError."""
        if self.should_stop():
            raise MeasurementError(CANCELLED)
        try:
            return self._timed() if self.transfers else self._computing()
        except Exception as error:  # whatever a backend throws ends the measurement, not the agent
            raise _failure(f"the runner {self.runner.backend!r} failed {when}", error) from error

    def _timed(self) -> tuple[float, int]:
        run, feeds, repeats = self.runner.run, self.feeds, range(self.repeats)
        began = self.clock()
        for _ in repeats:
            run(feeds)
        ended = self.clock()
        return (ended - began) / len(repeats), ended

    def _computing(self) -> tuple[float, int]:
        assert isinstance(self.runner, TimedRunner)
        total_ms = 0.0
        for _ in range(self.repeats):
            self.runner.run(self.feeds)
            total_ms += self.runner.part_times().compute_ms
        return total_ms / self.repeats * NS_PER_MS, self.clock()


@dataclass(frozen=True)
class WarmUp:
    """What the warm-up found: runs, time, whether latency had settled, and what a run takes."""

    iterations: int
    duration_ms: float
    settled: bool
    typical_ms: float

    def repeats(self, min_repeat_ms: float) -> int:
        """Runs a sample needs to last `min_repeat_ms`, at most 10 000."""
        if self.typical_ms >= min_repeat_ms:
            return 1
        shortest_ms = min_repeat_ms / _MAX_REPEATS
        return math.ceil(min_repeat_ms / max(self.typical_ms, shortest_ms))


@dataclass(frozen=True)
class Sampled:
    """Latencies, ms, in the order taken; when each ended, ms since sampling began; and why it ended."""

    samples_ms: Samples
    at_ms: Samples
    precise: bool
    duration_ms: float
    began_ns: int


def warm_up(stopwatch: Stopwatch, request: MeasurementRequest, progress: Progress) -> WarmUp:
    """Run at least once and for `warmup_ms`, then until latency has settled or `max_warmup_ms` are over."""
    settling, latencies_ms = Settling(), array("d")
    at_most_ms = max(request.warmup_ms, request.max_warmup_ms)
    began = stopwatch.clock()
    while True:
        latency_ns, ended = stopwatch("during warm-up")
        latencies_ms.append(latency_ns / NS_PER_MS)
        settling.add(latencies_ms[-1])
        elapsed_ms = (ended - began) / NS_PER_MS
        progress.report(min(elapsed_ms, request.warmup_ms))
        if elapsed_ms >= at_most_ms or (elapsed_ms >= request.warmup_ms and settling.is_settled):
            recent = latencies_ms[len(latencies_ms) // 2 :]
            return WarmUp(len(latencies_ms), elapsed_ms, settling.is_settled, statistics.median(recent))


def sample(
    stopwatch: Stopwatch, request: MeasurementRequest, progress: Progress, parts: PartLog
) -> Sampled:
    """Take latencies until their median is known to `precision`, or `max_duration_ms` are over."""
    log = _Log(stopwatch.clock())
    checks = check_points(request.min_iterations)
    next_check = next(checks)
    while True:
        elapsed_ms = log.add(*stopwatch())
        parts.note()
        progress.report(request.warmup_ms + min(elapsed_ms, request.max_duration_ms))
        time_is_up = elapsed_ms >= request.max_duration_ms and len(log) >= request.min_iterations
        may_stop = elapsed_ms >= request.min_duration_ms and len(log) >= next_check
        if time_is_up or may_stop:
            precise = is_precise(np.array(log.latencies_ns), request.precision, request.confidence)
            if precise or time_is_up:
                return log.sampled(precise)
            while next_check <= len(log):
                next_check = next(checks)


def check_points(first: int) -> Iterator[int]:
    """Sample counts at which to ask whether the median is known: each 1.25 times the one before.

    Every check sorts all samples. Growing counts keep the sum of all checks at O(n log n), and only
    log(n) / log(1.25) samples (41 of 100 000) follow a check and find the caches it disturbed. The
    price is up to 25 % more samples than needed. Stopping once the interval is narrow costs the interval
    some of its coverage; `is_precise` asks for more than a narrow interval so that it stays about 0.95.
    """
    count = first
    while True:
        yield count
        count = max(count + 1, int(count * _CHECK_GROWTH))


@dataclass
class _Log:
    """Latencies and the times they ended, ns: 16 bytes a sample, where lists of numbers take 72."""

    began_ns: int
    latencies_ns: array[float] = field(default_factory=lambda: array("d"))
    ended_ns: array[int] = field(default_factory=lambda: array("q"))

    def add(self, latency_ns: float, ended_ns: int) -> float:
        """Note one; the time since sampling began, ms."""
        self.latencies_ns.append(latency_ns)
        self.ended_ns.append(ended_ns)
        return (ended_ns - self.began_ns) / NS_PER_MS

    def __len__(self) -> int:
        return len(self.latencies_ns)

    def sampled(self, precise: bool) -> Sampled:
        at_ms = (np.array(self.ended_ns, dtype=np.int64) - self.began_ns) / NS_PER_MS
        samples_ms = np.array(self.latencies_ns) / NS_PER_MS
        return Sampled(samples_ms, at_ms, precise, float(at_ms[-1]), self.began_ns)


class Progress:
    """Passes on the share done at most `_PROGRESS_STEPS` times, then 1."""

    def __init__(self, on_progress: Callable[[float], None] | None, total_ms: float) -> None:
        self._on_progress, self._total_ms, self._step = on_progress, total_ms, 0

    def report(self, done_ms: float) -> None:
        """Tell that `done_ms` of all are over."""
        share = done_ms / self._total_ms
        if self._on_progress is not None and self._step <= share * _PROGRESS_STEPS:
            self._step = int(share * _PROGRESS_STEPS) + 1
            self._on_progress(share)

    def finish(self) -> None:
        """Tell that all is over."""
        if self._on_progress is not None:
            self._on_progress(1.0)


@contextlib.contextmanager
def garbage_collector_paused() -> Iterator[None]:
    """A collection takes milliseconds and would be counted as the model's."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _failure(what: str, error: Exception) -> MeasurementError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return MeasurementError(f"{what}: {reason}")
