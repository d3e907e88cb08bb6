"""Measure one runner: warm up, then sample until the median is known well enough or time is up."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import time
from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from edge_s4op.errors import MeasurementError
from edge_s4op.messages import MeasurementRequest, MeasurementResult
from edge_s4op.profiler.device import device_facts
from edge_s4op.profiler.energy import PowerMeter
from edge_s4op.profiler.parts import PartLog, engine_of
from edge_s4op.profiler.power import PowerSensor
from edge_s4op.profiler.statistics import Samples, is_precise, summarize
from edge_s4op.runtime import available_backends
from edge_s4op.runtime.feeds import random_feeds
from edge_s4op.runtime.protocol import Array, Runner, TimedRunner

__all__ = ["CANCELLED", "check_points", "measure", "samples_sha256"]

CANCELLED = "cancelled"  # `what` of the MeasurementError that should_stop causes

_NS_PER_MS, _NS_PER_S = 1_000_000, 1_000_000_000
_SEED = 0

_CHECK_GROWTH = 1.25
_PROGRESS_STEPS = 20  # a report may write to a database: rare, so that it disturbs few samples


def measure(
    runner: Runner,
    request: MeasurementRequest,
    *,
    clock: Callable[[], int] = time.perf_counter_ns,
    on_progress: Callable[[float], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    device_fingerprint: str | None = None,
    power: PowerSensor | None = None,
) -> tuple[MeasurementResult, Samples]:
    """Time `runner` on seeded random input of `request.batch` sequences; result and samples, ms.

    A latency is the whole of `runner.run`, on host arrays: what serving pays too. `clock` counts
    nanoseconds; `on_progress` gets the share done, 0 to 1; `should_stop` is asked between runs. The
    throughput is runs a second (trtexec's queries), 1000 / mean latency. `stopped_by` is "precision"
    whenever the interval is narrow enough at the end. The fingerprint is this device's if not given.
    `power` is sampled while the latencies are taken; before the warm-up the device idles for 0.3 s then.
    Without it, or where it does not see the GPU that `runner` runs on, there is no energy.

    A runner that tells parts of its latency apart has them in the result, from the same runs.

    Raises MeasurementError: "cancelled", or with the reason why the runner failed.
    """
    stopwatch = _Stopwatch(runner, _feeds_of(runner, request), clock, should_stop or _never)
    fingerprint = device_fingerprint or device_facts(available_backends()).fingerprint
    progress = _Progress(on_progress, request.warmup_ms + request.max_duration_ms)
    progress.report(0)
    meter = PowerMeter(_seeing(power, runner))
    meter.idle()
    with _garbage_collector_paused():
        warmup_iterations = _warm_up(stopwatch, request, progress)
        parts = PartLog(runner)
        with meter.sampling():
            latencies_ns, precise, duration_ns = _sample(stopwatch, request, progress, parts)
    samples_ms = np.array(latencies_ns, dtype=np.float64) / _NS_PER_MS
    latency_ms = summarize(samples_ms, request.confidence)
    result = MeasurementResult(
        request=request.model_copy(update={"backend": runner.backend}),
        device_fingerprint=fingerprint,
        backend_version=runner.backend_version,
        warmup_iterations=warmup_iterations,
        iterations=len(samples_ms),
        stopped_by="precision" if precise else "time",
        latency_ms=latency_ms,
        throughput_per_s=1000 / latency_ms.mean if latency_ms.mean > 0 else 0.0,
        samples_sha256=samples_sha256(samples_ms),
        energy=meter.energy(duration_ns / _NS_PER_S, len(samples_ms)),
        parts=parts.summary(),
        engine=engine_of(runner),
    )
    progress.finish()
    return result, samples_ms


def samples_sha256(samples_ms: Samples) -> str:
    """Hex SHA-256 of samples in order, as little-endian float64 ms."""
    return hashlib.sha256(np.asarray(samples_ms).astype("<f8").tobytes()).hexdigest()


def check_points(first: int) -> Iterator[int]:
    """Sample counts at which to ask whether the median is known: each 1.25 times the one before.

    Every check sorts all samples. Growing counts keep the sum of all checks at O(n log n), and only
    log(n) / log(1.25) samples (41 of 100 000) follow a check and find the caches it disturbed. The
    price is up to 25 % more samples than needed. Stopping once the interval is narrow costs the
    interval about one point of coverage (0.935 to 0.945 for 0.95, on simulated log-normal streams).
    """
    count = first
    while True:
        yield count
        count = max(count + 1, int(count * _CHECK_GROWTH))


def _warm_up(stopwatch: _Stopwatch, request: MeasurementRequest, progress: _Progress) -> int:
    """Run for `warmup_ms`, at least once (the first run allocates); the number of runs."""
    began, iterations, elapsed_ms = stopwatch.clock(), 0, 0.0
    while iterations == 0 or elapsed_ms < request.warmup_ms:
        _, ended = stopwatch.run("during warm-up")
        iterations += 1
        elapsed_ms = (ended - began) / _NS_PER_MS
        progress.report(min(elapsed_ms, request.warmup_ms))
    return iterations


def _sample(
    stopwatch: _Stopwatch, request: MeasurementRequest, progress: _Progress, parts: PartLog
) -> tuple[array[int], bool, int]:
    """Latencies, ns, whether their median is known to `precision`, and the time it all took, ns."""
    latencies = array("q")  # 8 bytes a sample, where a list of ints takes 36
    checks = check_points(request.min_iterations)
    began, next_check = stopwatch.clock(), next(checks)
    while True:
        latency, ended = stopwatch.run("while sampling")
        latencies.append(latency)
        parts.note()
        elapsed_ms = (ended - began) / _NS_PER_MS
        progress.report(request.warmup_ms + min(elapsed_ms, request.max_duration_ms))
        time_is_up = elapsed_ms >= request.max_duration_ms and len(latencies) >= request.min_iterations
        may_stop = elapsed_ms >= request.min_duration_ms and len(latencies) >= next_check
        if time_is_up or may_stop:
            precise = is_precise(np.array(latencies), request.precision, request.confidence)
            if precise or time_is_up:
                return latencies, precise, ended - began
            while next_check <= len(latencies):
                next_check = next(checks)


@dataclass(frozen=True)
class _Stopwatch:
    runner: Runner
    feeds: Mapping[str, Array]
    clock: Callable[[], int]
    should_stop: Callable[[], bool]

    def run(self, when: str) -> tuple[int, int]:
        """Run once: latency and the time it ended, ns."""
        if self.should_stop():
            raise MeasurementError(CANCELLED)
        try:
            began = self.clock()
            self.runner.run(self.feeds)
            ended = self.clock()
        except Exception as error:  # whatever a backend throws ends the measurement, not the agent
            raise _failure(f"the runner {self.runner.backend!r} failed {when}", error) from error
        return ended - began, ended


class _Progress:
    """Passes on the share done at most `_PROGRESS_STEPS` times, then 1."""

    def __init__(self, on_progress: Callable[[float], None] | None, total_ms: float) -> None:
        self._on_progress, self._total_ms, self._step = on_progress, total_ms, 0

    def report(self, done_ms: float) -> None:
        share = done_ms / self._total_ms
        if self._on_progress is not None and self._step <= share * _PROGRESS_STEPS:
            self._step = int(share * _PROGRESS_STEPS) + 1
            self._on_progress(share)

    def finish(self) -> None:
        if self._on_progress is not None:
            self._on_progress(1.0)


@contextlib.contextmanager
def _garbage_collector_paused() -> Iterator[None]:
    """A collection takes milliseconds and would be counted as the model's."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _feeds_of(runner: Runner, request: MeasurementRequest) -> dict[str, Array]:
    """Random input for `request`, after checking that this runner can answer it."""
    if request.backend not in (None, runner.backend):
        raise MeasurementError(
            "the runner is not of the backend to measure", expected=request.backend, found=runner.backend
        )
    try:
        feeds = random_feeds(runner.manifest, request.batch, _SEED)
    except Exception as error:  # no vocabulary, or no memory for that batch
        raise _failure(f"cannot make input for batch {request.batch}", error) from error
    for name, feed in feeds.items():
        if feed.ndim == 0 or feed.shape[0] != request.batch:
            raise MeasurementError(
                f"input {name!r} has a fixed shape",
                expected=f"a batch of {request.batch}",
                found=list(feed.shape),
                fix="measure with the model's own batch",
            )
    return feeds


def _seeing(power: PowerSensor | None, runner: Runner) -> PowerSensor | None:
    """`power`, unless `runner` runs on a GPU that it does not see: that energy would be made up."""
    return None if power is not None and isinstance(runner, TimedRunner) and not power.sees_gpu else power


def _failure(what: str, error: Exception) -> MeasurementError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return MeasurementError(f"{what}: {reason}")


def _never() -> bool:
    return False
