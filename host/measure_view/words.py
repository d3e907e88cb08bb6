"""What a measurement says in sentences: how it ran, how steady it was, what it compares with."""

from __future__ import annotations

from collections.abc import Iterator

from edge_s4op.messages import (
    Comparison,
    Deadline,
    DeviceFacts,
    Energy,
    EngineInfo,
    MeasurementResult,
    Memory,
    NotableSample,
    RebuildVariance,
    Stability,
)
from host.measure_view.figures import mebibytes, ms, ms_range, percent, percent_range, plural

__all__ = [
    "clock_words",
    "comparability_words",
    "comparison_words",
    "deadline_lines",
    "energy_words",
    "engine_words",
    "memory_words",
    "mode_words",
    "rebuild_words",
    "sampling_words",
    "stability_lines",
]

_WORST_SHOWN = 5


def sampling_words(measured: MeasurementResult) -> str:
    """How many runs, how many a second, why it stopped."""
    request, repeats = measured.request, measured.repeats
    together = f", each the mean of {plural(repeats, 'run')}" if repeats > 1 else ""
    why = {
        "precision": f"the median is known to +-{percent(request.precision)}",
        "time": f"time was up ({request.max_duration_ms / 1000:g} s); the median is not yet known to "
        f"+-{percent(request.precision)}",
    }[measured.stopped_by]
    cooled = f", after cooling down for {measured.cooldown_ms / 1000:.1f} s" if measured.cooldown_ms else ""
    return (
        f"throughput {measured.throughput_per_s:.1f} /s; {plural(measured.iterations, 'sample')}{together}; "
        f"{plural(measured.warmup_iterations, 'run')} of warm-up{cooled}; "
        f"stopped by {measured.stopped_by}: {why}"
    )


def mode_words(measured: MeasurementResult, facts: DeviceFacts | None) -> str:
    """The modes that a latency depends on, all of them."""
    request, engine = measured.request, measured.engine
    spin = request.spin_wait if engine is None else engine.spin_wait
    graph = request.cuda_graph if engine is None else engine.cuda_graph
    parts = [
        f"{request.backend} {measured.backend_version}",
        f"batch {request.batch}",
        plural(request.threads, "thread"),
        f"transfers {'counted' if request.transfers else 'not counted'}",
        f"spin-wait {_switch(spin)}",
        f"CUDA graph {_switch(graph)}",
        clock_words(facts),
    ]
    return ", ".join(parts)


def _switch(value: bool | None) -> str:
    return "not applicable" if value is None else "on" if value else "off"


def clock_words(facts: DeviceFacts | None) -> str:
    """ "clocks locked (cpu 1510 MHz)"; not locked where any has a range."""
    if facts is None or not facts.clocks:
        return "clocks unknown"
    shown = ", ".join(f"{name} {limits}" for name, limits in sorted(facts.clocks.items()))
    locked = not any(".." in limits for limits in facts.clocks.values())
    return f"clocks {'locked' if locked else 'not locked'} ({shown})"


def stability_lines(stability: Stability) -> Iterator[tuple[str, bool]]:
    """Sentences, each with whether it should alarm."""
    if stability.stationary:
        yield f"settled after {stability.warmup_ms:.0f} ms of warm-up", False
    else:
        yield f"NOT settled: latency still moved after {stability.warmup_ms:.0f} ms of warm-up", True
    if stability.drift is None:
        yield "no drift found", False
    else:
        drift = stability.drift
        verb = "rose" if drift.change > 0 else "fell"
        interval = percent_range(drift.interval)
        yield f"drift: latency {verb} by {percent(abs(drift.change))} (99 % interval {interval})", True
    if len(stability.modes) > 1:
        modes = ", ".join(f"{ms(m.median_ms)} ms ({percent(m.share)})" for m in stability.modes)
        yield f"bimodal, so that the median alone misleads: {modes}", True
    yield from _outlier_lines(stability)


def _outlier_lines(stability: Stability) -> Iterator[tuple[str, bool]]:
    outliers = stability.outliers
    if not outliers.count:
        yield f"no outliers (above {ms(outliers.above_ms)} ms)", False
        return
    share = percent(outliers.share)
    yield (
        f"{plural(outliers.count, 'outlier')} above {ms(outliers.above_ms)} ms ({share}), slowest first:",
        False,
    )
    for sample in outliers.worst[:_WORST_SHOWN]:
        yield f"  {sample_words(sample)}", False


def sample_words(sample: NotableSample) -> str:
    """Which sample, when, and what the board did."""
    board = f": {sample.board}" if sample.board else ""
    return f"{ms(sample.latency_ms)} ms, sample {sample.index} at {sample.at_ms:.0f} ms{board}"


def deadline_lines(deadline: Deadline, iterations: int) -> Iterator[str]:
    """Share of misses, whether they cluster, the tail and the worst."""
    clustered = "clustered" if deadline.clustered else "not clustered"
    row = f", at most {deadline.longest_run} in a row, {clustered}" if deadline.misses else ""
    yield (
        f"deadline {deadline.deadline_ms:g} ms: {deadline.misses:,} of {iterations:,} missed, "
        f"{percent(deadline.share)} (interval {percent_range(deadline.share_interval)}){row}"
    )
    yield f"  p99.9 {ms(deadline.p99_9_ms)} ms; worst {sample_words(deadline.worst)}"


def comparison_words(measured: MeasurementResult, comparison: Comparison, name: str) -> str:
    """ "faster than base.onnx: 0.82 times its median (95 % interval 0.81 .. 0.83), ..."."""
    resolved = comparison.verdict != "not resolved"
    verdict = f"{comparison.verdict} than {name}" if resolved else f"not resolved against {name}"
    confidence = f"{100 * measured.request.confidence:g} % interval"
    interval = f"{comparison.interval.low:.4f} .. {comparison.interval.high:.4f}"
    mine, other = measured.latency_ms, comparison.baseline_latency_ms
    return (
        f"{verdict}: {comparison.ratio:.4f} times its median ({confidence} {interval}); "
        f"medians {ms(mine.median)} ms ({ms_range(mine.median_interval)}) against {ms(other.median)} ms "
        f"({ms_range(other.median_interval)}), in {plural(comparison.rounds, 'turn')} of each"
    )


def rebuild_words(rebuilds: RebuildVariance) -> str:
    """How far medians of several builds lie apart."""
    medians = ", ".join(map(ms, rebuilds.medians_ms))
    count = plural(len(rebuilds.medians_ms), "build")
    return f"{count}: medians {medians} ms, the largest {percent(rebuilds.spread)} above the smallest"


def memory_words(memory: Memory) -> str:
    """Peak and the model's own; what could not be read is left out."""
    known = {"peak while sampling": memory.peak_bytes, "of it for the model": memory.model_bytes}
    shown = [f"{name} {mebibytes(size)}" for name, size in known.items() if size is not None]
    return f"memory: {', '.join(shown) or 'could not be read'}"


def energy_words(energy: Energy) -> str:
    """Energy an inference, idling aside and with it."""
    interval = f"{energy.interval.low:.4g} .. {energy.interval.high:.4g}"
    return (
        f"energy: {energy.energy_mj:.4g} mJ an inference (95 % interval {interval}), "
        f"{energy.total_mj:.4g} mJ with idling; {energy.source} read {energy.samples} times"
    )


def engine_words(engine: EngineInfo) -> str:
    """What ran, its size, and what is not as one might expect."""
    plugin = f"SSMConv plugin {engine.plugin}" if engine.plugin else "no SSMConv plugin"
    size = "" if engine.size_bytes is None else f", {mebibytes(engine.size_bytes)}"
    return f"engine {engine.key[:12]}{size}: {plugin}" + (f"; {engine.note}" if engine.note else "")


def comparability_words(measured: MeasurementResult) -> str:
    """What this measurement may be set beside."""
    return (
        f"fingerprint {measured.device_fingerprint[:12]}: not comparable with measurements of any other "
        "fingerprint or other modes"
    )
