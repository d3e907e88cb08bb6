"""Measure one runner: cool down, warm up, sample until the median is known, and say what else was seen."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from edge_s4op.errors import InferenceError, MeasurementError
from edge_s4op.messages import (
    Comparison,
    Deadline,
    Layers,
    MeasurementRequest,
    MeasurementResult,
    Memory,
    Stability,
)
from edge_s4op.profiler.compare import comparison_of
from edge_s4op.profiler.deadline import deadline_of
from edge_s4op.profiler.device import device_facts
from edge_s4op.profiler.drift import find_drift
from edge_s4op.profiler.feeds import feeds_of
from edge_s4op.profiler.memory import watch_memory
from edge_s4op.profiler.modes import find_modes
from edge_s4op.profiler.outliers import find_outliers
from edge_s4op.profiler.parts import PartLog, engine_of
from edge_s4op.profiler.recorder import Recorder
from edge_s4op.profiler.sampling import (
    CANCELLED,
    NS_PER_MS,
    Progress,
    Sampled,
    Stopwatch,
    WarmUp,
    check_points,
    garbage_collector_paused,
    sample,
    warm_up,
)
from edge_s4op.profiler.statistics import Samples, is_precise, summarize
from edge_s4op.profiler.turns import Turns, pause_ms_of, sample_in_turns
from edge_s4op.runtime import available_backends
from edge_s4op.runtime.protocol import ProfiledRunner, Runner, TimedRunner

__all__ = ["CANCELLED", "Measured", "check_points", "measure", "samples_sha256"]

Board = Callable[[float], "str | None"]


@dataclass(frozen=True)
class Measured:
    """A result, its raw latencies, and those of the baseline it was compared with, ms."""

    result: MeasurementResult
    samples_ms: Samples
    baseline_samples_ms: Samples | None = None


def measure(
    runner: Runner,
    request: MeasurementRequest,
    *,
    baseline: Runner | None = None,
    recorder: Recorder | None = None,
    clock: Callable[[], int] = time.perf_counter_ns,
    sleep: Callable[[float], None] = time.sleep,
    on_progress: Callable[[float], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    device_fingerprint: str | None = None,
    resident_before_bytes: int | None = None,
) -> Measured:
    """Time `runner` on seeded random input of `request.batch` sequences.

    A latency is the whole of `runner.run`, on host arrays: what serving pays too; without
    `request.transfers` the computing alone. The throughput is runs a second (trtexec's queries), 1000 / mean
    latency. `stopped_by` is "precision" whenever the interval is narrow enough at the end. A runner that
    tells parts of its latency apart has them in the result, from the same runs.

    `baseline` runs in turns with `runner`, and the two are compared. `recorder` watches the board; without
    it nothing is waited for, there is no telemetry and no energy, and nothing is called disturbed. `clock`
    counts nanoseconds, `sleep` takes seconds; `on_progress` gets the share done, 0 to 1; `should_stop` is
    asked between runs. The fingerprint is this device's if not given. `resident_before_bytes` is this
    process's memory before the model was loaded.

    Raises MeasurementError: "cancelled", or with the reason why the runner failed.
    """
    stop = should_stop or _never
    watch = Stopwatch(runner, feeds_of(runner, request), clock, stop, request.transfers)
    other = None if baseline is None else replace(watch, runner=baseline, feeds=feeds_of(baseline, request))
    progress = Progress(on_progress, request.warmup_ms + request.max_duration_ms)
    progress.report(0)
    fingerprint = device_fingerprint or device_facts(available_backends()).fingerprint
    cooldown_ms = _prepare(recorder, request, runner, stop)
    with garbage_collector_paused(), watch_memory(resident_before_bytes) as memory:
        taken = _take(watch, other, request, recorder, sleep, progress)
    layers = _layers(runner, watch, request, stop)
    progress.finish()
    result = _result(taken, request, recorder, runner, memory.memory(), layers, fingerprint, cooldown_ms)
    baseline_ms = None if taken.turns is None else taken.turns.baseline_samples_ms
    return Measured(result, taken.sampled.samples_ms, baseline_ms)


def samples_sha256(samples_ms: Samples) -> str:
    """Hex SHA-256 of samples in order, as little-endian float64 ms."""
    return hashlib.sha256(samples_ms.astype("<f8").tobytes()).hexdigest()


@dataclass(frozen=True)
class _Taken:
    """All that was timed: the warm-up, the latencies, and the turns they are from in a comparison."""

    warmed: WarmUp
    repeats: int
    sampled: Sampled
    turns: Turns | None
    parts: PartLog


def _prepare(
    recorder: Recorder | None, request: MeasurementRequest, runner: Runner, stop: Callable[[], bool]
) -> float:
    """Let the board cool down and note what it draws when idle; the time waited for the first, ms."""
    if recorder is None:
        return 0.0
    waited_ms = recorder.cool_down(request.cooldown_max_ms, stop)
    recorder.idle(on_gpu=isinstance(runner, TimedRunner))
    return waited_ms


def _take(
    watch: Stopwatch,
    other: Stopwatch | None,
    request: MeasurementRequest,
    recorder: Recorder | None,
    sleep: Callable[[float], None],
    progress: Progress,
) -> _Taken:
    warmed = warm_up(watch, request, progress)
    watch = replace(watch, repeats=warmed.repeats(request.min_repeat_ms))
    parts, turns = PartLog(watch.runner), None
    if other is None:
        with _recording(recorder):
            sampled = sample(watch, request, progress, parts)
    else:
        repeats = warm_up(other, request, progress).repeats(request.min_repeat_ms)
        with _recording(recorder):
            turns = _in_turns(watch, replace(other, repeats=repeats), request, sleep, progress)
        sampled = _sampled_of(turns, request)
    return _Taken(warmed, watch.repeats, sampled, turns, parts)


def _in_turns(
    watch: Stopwatch,
    other: Stopwatch,
    request: MeasurementRequest,
    sleep: Callable[[float], None],
    progress: Progress,
) -> Turns:
    return sample_in_turns(
        watch,
        other,
        min_duration_ms=request.min_duration_ms,
        max_duration_ms=request.max_duration_ms,
        confidence=request.confidence,
        pause_ms=pause_ms_of(request.threads),
        clock=watch.clock,
        sleep=sleep,
        on_progress=lambda share: progress.report(request.warmup_ms + share * request.max_duration_ms),
    )


def _sampled_of(turns: Turns, request: MeasurementRequest) -> Sampled:
    precise = is_precise(turns.samples_ms, request.precision, request.confidence)
    return Sampled(turns.samples_ms, turns.at_ms, precise, turns.duration_ms, turns.began_ns)


def _recording(recorder: Recorder | None) -> contextlib.AbstractContextManager[None]:
    return contextlib.nullcontext() if recorder is None else recorder.sampling()


def _result(
    taken: _Taken,
    request: MeasurementRequest,
    recorder: Recorder | None,
    runner: Runner,
    memory: Memory,
    layers: Layers | None,
    fingerprint: str,
    cooldown_ms: float,
) -> MeasurementResult:
    sampled, turns = taken.sampled, taken.turns
    latency_ms = summarize(sampled.samples_ms, request.confidence)
    board = _board_at(recorder, sampled.began_ns)
    runs = len(sampled.samples_ms) * taken.repeats
    return MeasurementResult(
        request=request.model_copy(update={"backend": runner.backend}),
        device_fingerprint=fingerprint,
        backend_version=runner.backend_version,
        warmup_iterations=taken.warmed.iterations,
        iterations=len(sampled.samples_ms),
        repeats=taken.repeats,
        stopped_by="precision" if sampled.precise else "time",
        latency_ms=latency_ms,
        throughput_per_s=1000 / latency_ms.mean if latency_ms.mean > 0 else 0.0,
        samples_sha256=samples_sha256(sampled.samples_ms),
        cooldown_ms=cooldown_ms,
        stability=_stability(taken.warmed, sampled, board),
        disturbed=recorder.disturbances() if recorder else (),
        telemetry=recorder.summary() if recorder else None,
        # In a comparison two models drew the power.
        energy=recorder.energy(sampled.duration_ms / 1000, runs) if recorder and turns is None else None,
        parts=taken.parts.summary(),
        engine=engine_of(runner),
        memory=memory,
        layers=layers,
        deadline=_deadline(sampled, request, board),
        comparison=_comparison(turns, request),
    )


def _deadline(sampled: Sampled, request: MeasurementRequest, board: Board | None) -> Deadline | None:
    if request.deadline_ms is None:
        return None
    return deadline_of(sampled.samples_ms, sampled.at_ms, request.deadline_ms, board)


def _comparison(turns: Turns | None, request: MeasurementRequest) -> Comparison | None:
    if turns is None or request.baseline_sha256 is None:
        return None
    return comparison_of(turns, request.baseline_sha256, request.confidence)


def _stability(warmed: WarmUp, sampled: Sampled, board: Board | None) -> Stability:
    return Stability(
        stationary=warmed.settled,
        warmup_ms=warmed.duration_ms,
        drift=find_drift(sampled.samples_ms, sampled.at_ms),
        modes=find_modes(sampled.samples_ms),
        outliers=find_outliers(sampled.samples_ms, sampled.at_ms, board),
    )


def _board_at(recorder: Recorder | None, began_ns: int) -> Board | None:
    """What the board did at a time, ms since sampling began."""
    return None if recorder is None else lambda at_ms: recorder.at(began_ns + int(at_ms * NS_PER_MS))


def _layers(
    runner: Runner, watch: Stopwatch, request: MeasurementRequest, stop: Callable[[], bool]
) -> Layers | None:
    if not request.layers or not isinstance(runner, ProfiledRunner):
        return None
    try:
        return runner.layers(watch.feeds, should_stop=stop)
    except InferenceError as error:
        if stop():
            raise MeasurementError(CANCELLED) from error
        raise MeasurementError(f"the layers cannot be profiled: {error}") from error


def _never() -> bool:
    return False
