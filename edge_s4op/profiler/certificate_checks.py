"""What can be checked of a certificate: that it is whole and agrees with itself, the file and the samples."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edge_s4op.artifact import sha256_of
from edge_s4op.errors import MeasurementError
from edge_s4op.messages import Certificate, Comparison, LatencyStatistics, MeasurementResult
from edge_s4op.profiler.compare import compare, verdict_of
from edge_s4op.profiler.deadline import deadline_of
from edge_s4op.profiler.statistics import Samples, summarize

__all__ = ["Check", "Outcome", "all_checks"]

Outcome = Literal["ok", "failed", "not checked"]

_RELATIVE = 1e-9  # a mean depends on the order of adding, which differs between processors


@dataclass(frozen=True)
class Check:
    """One thing looked at, how that went, and in words what was found."""

    name: str
    outcome: Outcome
    what: str


def all_checks(
    certificate: Certificate,
    artifact: bytes | None,
    samples_ms: Samples | None,
    baseline_samples_ms: Samples | None,
) -> Iterator[Check]:
    """Every check in the order to read them."""
    result = certificate.result
    yield _digest(certificate)
    yield _device(certificate)
    yield _artifact(certificate)
    yield _engine(certificate)
    yield _artifact_file(certificate, artifact)
    yield _statistics_order(result)
    yield _stop(result)
    yield from _samples(result, samples_ms)
    if result.comparison is not None:
        yield _verdict(result, result.comparison)
        yield from _baseline(result, result.comparison, samples_ms, baseline_samples_ms)


def _equal(name: str, what: str, stated: object, found: object) -> Check:
    if stated == found:
        return Check(name, "ok", what)
    return Check(name, "failed", f"{what}: stated {_short(stated)}, found {_short(found)}")


def _short(value: object) -> str:
    return f"{value[:12]}..." if isinstance(value, str) and len(value) == 64 else str(value)


def _all_equal(name: str, what: str, pairs: dict[str, tuple[object, object]]) -> Check:
    """One check of several values that are equal, floats but for rounding."""
    differing = {key: pair for key, pair in pairs.items() if not _same(*pair)}
    wrong = [f"{key} is {stated}, not {found}" for key, (stated, found) in differing.items()]
    return Check(name, "failed", f"{what}: {'; '.join(wrong)}") if wrong else Check(name, "ok", what)


def _same(stated: object, found: object) -> bool:
    if isinstance(stated, float) and isinstance(found, float):
        return math.isclose(stated, found, rel_tol=_RELATIVE)
    return stated == found


def _digest(certificate: Certificate) -> Check:
    what = "the digest is that of everything else"
    return _equal("digest", what, certificate.digest, certificate.computed_digest())


def _device(certificate: Certificate) -> Check:
    stated, found = certificate.result.device_fingerprint, certificate.device.fingerprint
    return _equal("device", "the measurement is of the device described", stated, found)


def _artifact(certificate: Certificate) -> Check:
    stated, found = certificate.result.request.artifact_sha256, certificate.artifact.sha256
    return _equal("artifact", "the request names the file described", stated, found)


def _engine(certificate: Certificate) -> Check:
    engine = certificate.result.engine
    found = engine.engine_sha256 if engine else None
    return _equal("engine", "the engine is the one that ran", certificate.engine_sha256, found)


def _artifact_file(certificate: Certificate, content: bytes | None) -> Check:
    name, what, stated = "file", "the file is the one measured", certificate.artifact
    if content is None:
        return Check(name, "not checked", "no file given")
    size_bytes = len(content) if stated.size_bytes is not None else None
    found = (sha256_of(content), size_bytes)
    pairs: dict[str, tuple[object, object]] = {
        "its SHA-256": (stated.sha256, found[0]),
        "its size": (stated.size_bytes, found[1]),
    }
    return _all_equal(name, what, pairs)


def _statistics_order(result: MeasurementResult) -> Check:
    """Percentiles ascend and the intervals enclose them: what no samples can contradict."""
    latency = result.latency_ms
    ascending = [latency.minimum, latency.median, latency.p90, latency.p95, latency.p99]
    ascending += [latency.maximum] if latency.p99_9 is None else [latency.p99_9, latency.maximum]
    intervals = ((latency.median, latency.median_interval), (latency.p95, latency.p95_interval))
    sound = (
        ascending == sorted(ascending)
        and latency.minimum <= latency.mean <= latency.maximum
        and all(interval.low <= value <= interval.high for value, interval in intervals)
        and (latency.mean <= 0 or math.isclose(result.throughput_per_s, 1000 / latency.mean, rel_tol=1e-6))
    )
    what = "percentiles ascend, intervals enclose them, throughput is 1000 / mean"
    return Check("order", "ok" if sound else "failed", what if sound else f"not true: {what}")


def _stop(result: MeasurementResult) -> Check:
    latency, precision = result.latency_ms, result.request.precision
    interval = latency.median_interval
    width = max(latency.median - interval.low, interval.high - latency.median)
    asked = f"+-{precision:.3g} of the median"
    enough = width <= precision * latency.median * (1 + _RELATIVE)
    if result.stopped_by == "precision" and not enough:
        return Check("stop", "failed", f"stopped by precision, but the interval is wider than {asked}")
    if result.iterations < result.request.min_iterations and result.comparison is None:
        return Check("stop", "failed", f"{result.iterations} iterations are fewer than were asked for")
    reached = f"{asked} {'reached' if enough else 'not reached'}"
    return Check("stop", "ok", f"stopped by {result.stopped_by}, {reached}")


def _samples(result: MeasurementResult, samples_ms: Samples | None) -> Iterator[Check]:
    if samples_ms is None:
        yield Check("samples", "not checked", "no samples given")
        yield Check("statistics", "not checked", "no samples given")
        if result.deadline is not None:
            yield Check("deadline", "not checked", "no samples given")
        return
    samples_ms = np.asarray(samples_ms, dtype=np.float64)
    found = _hash(samples_ms)
    yield _equal("samples", "the samples are those measured", result.samples_sha256, found)
    counts: dict[str, tuple[object, object]] = {"iterations": (result.iterations, samples_ms.size)}
    yield _statistics("statistics", result.latency_ms, samples_ms, result.request.confidence, counts)
    if result.deadline is not None:
        yield _deadline(result, samples_ms)


def _statistics(
    name: str,
    stated: LatencyStatistics,
    samples_ms: Samples,
    confidence: float,
    more: dict[str, tuple[object, object]],
) -> Check:
    what = "the statistics are those of the samples"
    try:
        found = summarize(samples_ms, confidence)
    except MeasurementError as error:
        return Check(name, "failed", f"{what}: {error}")
    pairs = {**more, **_flat_pairs(stated, found)}
    return _all_equal(name, what, pairs)


def _flat_pairs(stated: LatencyStatistics, found: LatencyStatistics) -> dict[str, tuple[object, object]]:
    """Every figure stated beside the one found; those None, of an earlier version, are left out."""
    pairs: dict[str, tuple[object, object]] = {}
    for field in LatencyStatistics.model_fields:
        ours, theirs = getattr(stated, field), getattr(found, field)
        if field.endswith("_interval"):
            pairs |= {f"{field}.{end}": (getattr(ours, end), getattr(theirs, end)) for end in ("low", "high")}
        elif ours is not None:
            pairs[field] = (ours, theirs)
    return pairs


def _deadline(result: MeasurementResult, samples_ms: Samples) -> Check:
    """All but when the worst ended, and what the board did then: samples do not tell."""
    stated = result.deadline
    assert stated is not None
    name, what = "deadline", "the misses are those of the samples"
    if samples_ms.size == 0:
        return Check(name, "failed", f"{what}: there are none")
    found = deadline_of(samples_ms, np.zeros_like(samples_ms), stated.deadline_ms)
    fields = ("misses", "share", "longest_run", "clustered", "p99_9_ms")
    pairs: dict[str, tuple[object, object]] = {
        field: (getattr(stated, field), getattr(found, field)) for field in fields
    }
    pairs |= {
        "deadline_ms": (stated.deadline_ms, result.request.deadline_ms),
        "share_interval.low": (stated.share_interval.low, found.share_interval.low),
        "share_interval.high": (stated.share_interval.high, found.share_interval.high),
        "worst.index": (stated.worst.index, found.worst.index),
        "worst.latency_ms": (stated.worst.latency_ms, found.worst.latency_ms),
    }
    return _all_equal(name, what, pairs)


def _verdict(result: MeasurementResult, comparison: Comparison) -> Check:
    pairs: dict[str, tuple[object, object]] = {
        "the baseline": (comparison.baseline_sha256, result.request.baseline_sha256),
        "the verdict": (comparison.verdict, verdict_of(comparison.interval)),
        "the ratio in its interval": (
            True,
            comparison.interval.low <= comparison.ratio <= comparison.interval.high,
        ),
    }
    if comparison.round_sizes:
        pairs["the number of rounds"] = (comparison.rounds, len(comparison.round_sizes))
    return _all_equal("verdict", "the verdict is what its interval says, on the baseline asked for", pairs)


def _baseline(
    result: MeasurementResult,
    comparison: Comparison,
    samples_ms: Samples | None,
    baseline_ms: Samples | None,
) -> Iterator[Check]:
    names = ("baseline samples", "baseline statistics")
    if baseline_ms is None:
        yield from (Check(name, "not checked", "no samples of the baseline given") for name in names)
    else:
        baseline_ms = np.asarray(baseline_ms, dtype=np.float64)
        stated, found = comparison.baseline_samples_sha256, _hash(baseline_ms)
        yield _equal(names[0], "the baseline's samples are those measured", stated, found)
        confidence = result.request.confidence
        yield _statistics(names[1], comparison.baseline_latency_ms, baseline_ms, confidence, {})
    yield _comparison(result, comparison, samples_ms, baseline_ms)


def _comparison(
    result: MeasurementResult,
    comparison: Comparison,
    samples_ms: Samples | None,
    baseline_ms: Samples | None,
) -> Check:
    """The ratio and its interval once more, from both's samples cut into rounds."""
    name, what = "comparison", "ratio and interval are those of the samples"
    if samples_ms is None or baseline_ms is None or not comparison.round_sizes:
        return Check(name, "not checked", "it needs the samples of both, and the sizes of the rounds")
    sizes = np.array(comparison.round_sizes)
    if tuple(sizes.sum(axis=0)) != (len(samples_ms), len(baseline_ms)):
        return Check(name, "failed", f"{what}: the rounds have not as many samples")
    cuts = np.cumsum(sizes, axis=0)[:-1]
    rounds = zip(np.split(samples_ms, cuts[:, 0]), np.split(baseline_ms, cuts[:, 1]), strict=True)
    try:
        _, ratio, interval = compare(list(rounds), result.request.confidence)
    except MeasurementError as error:
        return Check(name, "failed", f"{what}: {error}")
    pairs: dict[str, tuple[object, object]] = {
        "ratio": (comparison.ratio, ratio),
        "interval.low": (comparison.interval.low, interval.low),
        "interval.high": (comparison.interval.high, interval.high),
    }
    return _all_equal(name, what, pairs)


def _hash(samples_ms: Samples) -> str:
    return sha256_of(samples_ms.astype("<f8").tobytes())
